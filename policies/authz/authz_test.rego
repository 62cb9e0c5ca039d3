package weir.authz_test

import data.weir.authz

_grants := {
	"acme": ["small", "big-*"],
	"acme/research": ["big-*"],
	"globex": ["*"],
}

_ask(subject, model) := decision if {
	decision := authz.decision with input as {"subject": subject, "request": {"model": model}}
		with data.weir.grants as _grants
}

_acme := {"levels": ["acme"], "roles": []}

_research := {"levels": ["acme", "acme/research"], "roles": ["developer"]}

_nobody := {"levels": ["initech"], "roles": []}

test_a_granted_model_is_allowed if {
	_ask(_acme, "small") == {"allow": true, "rule": "tenant_models", "reason": "granted", "obligations": []}
}

test_a_pattern_grants_its_prefix if _ask(_acme, "big-7b").allow

test_a_pattern_grants_nothing_else if {
	not _ask(_acme, "large-big-7b").allow
	not _ask(_acme, "big").allow
}

test_an_exact_name_is_no_prefix if not _ask(_acme, "small-2").allow

test_a_star_grants_everything if _ask({"levels": ["globex"], "roles": []}, "anything").allow

test_an_inner_level_narrows if {
	decision := _ask(_research, "small")
	decision.rule == "tenant_models"
	decision.reason == "model_withheld"
	not decision.allow
}

test_an_inner_level_cannot_give_back_what_an_outer_one_withholds if {
	grants := {"acme": ["small"], "acme/research": ["big-*"]}
	decision := authz.decision with input as {"subject": _research, "request": {"model": "big-7b"}}
		with data.weir.grants as grants
	not decision.allow
}

test_a_level_without_a_list_changes_nothing if {
	subject := {"levels": ["acme", "acme/sales"], "roles": []}
	_ask(subject, "small").allow
}

test_without_any_grant_the_default_denies if {
	_ask(_nobody, "small") == {
		"allow": false,
		"rule": "default_deny",
		"reason": "model_not_granted",
		"obligations": [],
	}
}

test_a_suspended_subject_may_nothing if {
	decision := _ask(object.union(_acme, {"roles": ["developer", "suspended"]}), "small")
	decision.rule == "suspended"
	not decision.allow
}

test_a_keys_list_narrows if {
	subject := object.union(_acme, {"models": ["big-*"]})
	_ask(subject, "big-7b").allow
	_ask(subject, "small").rule == "key_models"
}

test_a_keys_list_grants_nothing_by_itself if {
	not _ask(object.union(_nobody, {"models": ["*"]}), "small").allow
}

test_a_keys_empty_list_allows_nothing if {
	not _ask(object.union(_acme, {"models": []}), "small").allow
}

test_an_input_without_a_model_is_denied if {
	decision := authz.decision with input as {"subject": _acme, "request": {}} with data.weir.grants as _grants
	not decision.allow
}

test_an_empty_input_is_denied if {
	decision := authz.decision with input as {} with data.weir.grants as _grants
	not decision.allow
}
