# METADATA
# title: Who may administer what
# description: >-
#   Every route of the admin API has an action, such as keys.create, and asks here before it does anything. A role lists
#   its actions; an administrator of a tenant acts there and below, and never on the deployment as a whole.
package weir.admin

# METADATA
# title: May this administrator do that
# description: >-
#   Answers {allow, rule, reason}. Reads input.subject {id, role, tenant}, input.action, and input.resource: tenant where
#   the action is about one, deployment where it is about all of them, roles where it grants some.
# entrypoint: true
default decision := {"allow": false, "rule": "default_deny", "reason": "role_not_allowed"}

decision := {"allow": false, "rule": "scope", "reason": "outside_tenant"} if {
	not _in_scope
} else := {"allow": false, "rule": "grants", "reason": "roles_not_grantable"} if {
	_grants_roles
	not _may("roles.grant")
} else := {"allow": true, "rule": input.subject.role, "reason": "granted"} if {
	_may(input.action)
}

# What a role may do. `*` is everything; `keys.*` is every action on keys.
_roles := {
	"owner": ["*"],
	"security": ["status.read", "keys.*", "tenants.*", "secrets.*", "roles.grant", "issuers.*", "policy.*", "directory.*", "audit.*", "usage.read"],
	"finance": ["usage.read", "usage.reprice", "tenants.read", "statements.close"],
	"developer": ["keys.read", "keys.create", "keys.rotate", "keys.expire", "keys.revoke", "usage.read", "tenants.read"],
	"auditor": ["status.read", "keys.read", "tenants.read", "secrets.read", "issuers.read", "policy.read", "directory.read", "audit.*", "usage.read"],
}

_may(action) if {
	some pattern in _roles[input.subject.role]
	_names(pattern, action)
}

_names(pattern, action) if pattern == action

_names(pattern, _) if pattern == "*"

_names(pattern, action) if {
	endswith(pattern, ".*")
	startswith(action, trim_suffix(pattern, "*"))
}

# An administrator of everything.
_in_scope if not input.subject.tenant

# Of a tenant: the tenant itself and what lies below it.
_in_scope if input.resource.tenant == input.subject.tenant

_in_scope if {
	tenant := input.resource.tenant
	startswith(tenant, concat("", [input.subject.tenant, "/"]))
}

# A question about no tenant in particular, such as for a list, which then holds the administrator's own alone.
_in_scope if {
	not input.resource.tenant
	not input.resource.deployment
}

_grants_roles if count(input.resource.roles) > 0
