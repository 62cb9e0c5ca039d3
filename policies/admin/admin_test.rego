package weir.admin_test

import data.weir.admin

_ask(subject, action, resource) := decision if {
	decision := admin.decision with input as {"subject": subject, "action": action, "resource": resource}
}

_everywhere(role) := {"id": "a", "role": role}

_acme(role) := {"id": "a", "role": role, "tenant": "acme"}

test_an_owner_may_everything if {
	every action in ["status.read", "keys.create", "admins.change", "tenants.delete", "usage.read", "anything"] {
		_ask(_everywhere("owner"), action, {}).allow
	}
}

test_roles_have_their_own if {
	_ask(_everywhere("security"), "keys.revoke", {}).allow
	_ask(_everywhere("finance"), "usage.read", {}).allow
	_ask(_everywhere("finance"), "statements.close", {"deployment": true}).allow
	_ask(_everywhere("finance"), "usage.reprice", {"deployment": true}).allow
	_ask(_everywhere("developer"), "keys.create", {"tenant": "acme"}).allow
	_ask(_everywhere("auditor"), "audit.verify", {"deployment": true}).allow
}

test_roles_have_no_more if {
	every pair in [
		["security", "admins.change"], ["finance", "keys.read"], ["finance", "audit.verify"],
		["developer", "keys.scope"], ["developer", "tenants.create"], ["developer", "issuers.read"],
		["auditor", "keys.create"], ["auditor", "statements.close"], ["auditor", "usage.reprice"], ["security", "usage.reprice"], ["auditor", "policy.change"], ["nobody", "usage.read"], ["", "keys.read"],
	] {
		decision := _ask(_everywhere(pair[0]), pair[1], {})
		decision == {"allow": false, "rule": "default_deny", "reason": "role_not_allowed"}
	}
}

test_a_beginning_is_no_name if {
	not _ask(_everywhere("finance"), "usage.reader", {}).allow
	not _ask(_everywhere("security"), "keysmith.create", {}).allow
}

test_a_tenants_administrator_stays_within if {
	_ask(_acme("owner"), "keys.create", {"tenant": "acme"}).allow
	_ask(_acme("owner"), "keys.create", {"tenant": "acme/research/x"}).allow
	_ask(_acme("owner"), "keys.read", {}).allow
	every resource in [{"tenant": "acmeister"}, {"tenant": "globex"}, {"tenant": ""}, {"deployment": true}] {
		decision := _ask(_acme("owner"), "keys.create", resource)
		decision == {"allow": false, "rule": "scope", "reason": "outside_tenant"}
	}
}

test_who_may_not_grant_roles_makes_plain_keys if {
	_ask(_acme("developer"), "keys.create", {"tenant": "acme", "roles": []}).allow
	_ask(_acme("security"), "keys.create", {"tenant": "acme", "roles": ["chief"]}).allow
	decision := _ask(_acme("developer"), "keys.create", {"tenant": "acme", "roles": ["chief"]})
	decision.reason == "roles_not_grantable"
}

test_nothing_is_allowed_to_nobody if {
	not _ask({}, "keys.read", {}).allow
	not _ask({"tenant": "acme"}, "keys.read", {"tenant": "acme"}).allow
	admin.decision.rule == "default_deny" with input as {}
}

test_an_auditor_reads_and_changes_nothing if {
	every action in ["keys.read", "tenants.read", "policy.read", "audit.verify", "usage.read"] {
		_ask(_everywhere("auditor"), action, {}).allow
	}
	every action in ["keys.revoke", "tenants.change", "policy.change", "issuers.rotate", "admins.change"] {
		not _ask(_everywhere("auditor"), action, {}).allow
	}
}

test_only_an_owner_makes_administrators if {
	_ask(_everywhere("owner"), "admins.change", {"deployment": true}).allow
	_ask(_acme("owner"), "admins.change", {"tenant": "acme/x"}).allow
	not _ask(_acme("owner"), "admins.change", {"deployment": true}).allow
	every role in ["security", "finance", "developer", "auditor"] {
		not _ask(_everywhere(role), "admins.change", {"tenant": "acme"}).allow
	}
}

test_the_scope_is_told_before_the_role if {
	decision := _ask(_acme("auditor"), "keys.create", {"tenant": "globex"})
	decision.reason == "outside_tenant"
}
