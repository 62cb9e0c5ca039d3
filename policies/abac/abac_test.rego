package weir.abac_test

import data.weir.abac

_rules := {
	"roles": {"developer": {"endpoints": ["chat_completions", "models"]}, "reader": {"endpoints": ["models"]}},
	"models": {"report-analysis": {"department": ["finance"]}},
	"hours": {"contractor": {"weekdays": [1, 2, 3, 4, 5], "from": 8, "to": 18}},
	"networks": {"acme": ["192.0.2.0/24", "2001:db8::/32"]},
	"data_classes": {"secret": ["secret"], "internal": ["secret", "internal"]},
	"residency": "region",
	"token_caps": {"intern": {"refuse_above": 512, "max_tokens": 256}, "junior": {"max_tokens": 128}},
	"tools": {"acme": ["get_weather"]},
}

_input := {
	"subject": {
		"levels": ["acme"],
		"roles": ["developer"],
		"attributes": {"department": "finance", "data_class": "internal", "region": "eu"},
	},
	"request": {"endpoint": "chat_completions", "model": "report-analysis", "max_tokens": 64, "tools": ["get_weather"]},
	"resource": {"candidates": [
		{"deployment": "own", "provider": "engine", "data_class": "secret"},
		{"deployment": "cloud", "provider": "openai", "data_class": "public"},
	]},
	"client": {"ip": "192.0.2.7"},
	"time": {"weekday": 3, "hour": 9},
}

_ask(asked, rules) := decision if {
	decision := abac.decision with input as asked
		with data.weir.rules as rules
		with data.weir.grants as {"acme": ["*"]}
}

_with(path, value) := json.patch(_input, [{"op": "add", "path": path, "value": value}])

_without(path) := json.patch(_input, [{"op": "remove", "path": path}])

_refused(asked, rule) if {
	decision := _ask(asked, _rules)
	decision.allow == false
	decision.rule == rule
}

test_a_call_that_fits_all_rules_is_allowed_with_what_they_demand if {
	decision := _ask(_input, _rules)
	decision.allow == true
	decision.obligations == {"route": {"region": ["eu"], "exclude": ["cloud"]}}
}

test_without_rules_the_grants_decide_alone if {
	_ask(_input, {}) == {"allow": true, "rule": "tenant_models", "reason": "granted", "obligations": {}}
}

test_what_the_grants_refuse_stays_refused if {
	decision := abac.decision with input as _input with data.weir.rules as _rules with data.weir.grants as {}
	decision.allow == false
	decision.rule == "default_deny"
}

test_an_empty_input_is_refused if {
	decision := abac.decision with input as {}
	decision.allow == false
}

test_only_a_role_that_allows_the_endpoint_helps if {
	_refused(_with("/subject/roles", ["reader"]), "role_endpoints")
	_refused(_with("/subject/roles", []), "role_endpoints")
	_refused(_with("/request/endpoint", "completions"), "role_endpoints")
}

test_the_finance_model_is_for_finance if {
	_refused(_with("/subject/attributes/department", "research"), "model_attributes")
	_refused(_without("/subject/attributes/department"), "model_attributes")
	_ask(_with("/request/model", "small"), _rules).allow == true
}

_at(weekday, hour) := json.patch(_input, [
	{"op": "add", "path": "/subject/roles", "value": ["developer", "contractor"]},
	{"op": "add", "path": "/time", "value": {"weekday": weekday, "hour": hour}},
])

test_contractors_work_in_office_hours if {
	_ask(_at(1, 8), _rules).allow == true
	_refused(_at(1, 7), "office_hours")
	_refused(_at(5, 18), "office_hours")
	_refused(_at(6, 12), "office_hours")
}

test_a_level_may_be_bound_to_networks if {
	_ask(_with("/client/ip", "2001:db8::1"), _rules).allow == true
	_refused(_with("/client/ip", "198.51.100.1"), "client_address")
	_refused(_without("/client"), "client_address")
}

test_data_goes_only_where_its_class_may if {
	_refused(_with("/resource/candidates", [{"deployment": "cloud", "data_class": "public"}]), "data_class")
	_refused(_with("/resource/candidates", [{"deployment": "own"}]), "data_class")
	_refused(_without("/subject/attributes/data_class"), "data_class")
}

test_roles_cap_tokens_or_refuse if {
	asked := _with("/subject/roles", ["developer", "intern", "junior"])
	_ask(asked, _rules).obligations.limit == {"max_tokens": 128}
	_refused(json.patch(asked, [{"op": "add", "path": "/request/max_tokens", "value": 513}]), "token_cap")
}

test_a_bound_that_is_no_number_refuses if {
	asked := _with("/subject/roles", ["developer", "intern"])
	rules := json.patch(_rules, [{"op": "add", "path": "/token_caps/intern/refuse_above", "value": "512"}])
	decision := _ask(asked, rules)
	decision.rule == "token_cap"
}

test_without_a_region_nobody_calls_where_residency_is_demanded if {
	_refused(_without("/subject/attributes/region"), "residency")
	rules := json.patch(_rules, [{"op": "remove", "path": "/residency"}])
	_ask(_without("/subject/attributes/region"), rules).allow == true
}

test_only_listed_tools_may_be_offered if {
	_refused(_with("/request/tools", ["get_weather", "exec"]), "tools")
	_ask(_with("/request/tools", []), _rules).allow == true
}

test_of_several_denials_the_first_by_name_is_told if {
	asked := json.patch(_input, [
		{"op": "add", "path": "/request/tools", "value": ["exec"]},
		{"op": "add", "path": "/client/ip", "value": "198.51.100.1"},
	])
	_refused(asked, "client_address")
	_ask(asked, _rules).reason == "address_not_allowed"
}

test_listing_models_asks_for_no_address_or_hour if {
	asked := json.patch(_input, [
		{"op": "add", "path": "/request/endpoint", "value": "models"},
		{"op": "remove", "path": "/client"},
		{"op": "remove", "path": "/time"},
		{"op": "add", "path": "/resource/candidates", "value": []},
	])
	_ask(asked, _rules).allow == true
}
