# METADATA
# title: Who may use which model
# description: >-
#   A subject may use a model when every level of its tenant path that lists models grants it, and at least one level
#   does: what an outer level withholds, an inner level can't give back. A key's own list narrows further.
#   Grants come from the tenants of the configuration, as data.weir.grants: {"acme/research": ["small", "big-*"]}.
package weir.authz

# METADATA
# title: May this subject use this model
# description: >-
#   Answers {allow, rule, reason, obligations}. Reads input.subject and input.request.model, nothing else.
#   Where no level lists models, or the input lacks what a rule reads, the default answers: no.
# entrypoint: true
default decision := {"allow": false, "rule": "default_deny", "reason": "model_not_granted", "obligations": []}

decision := _deny("suspended", "subject_suspended") if {
	_suspended
} else := _deny("key_models", "model_not_granted_to_key") if {
	not _key_grants
} else := _deny("tenant_models", "model_withheld") if {
	_withheld
} else := _allow("tenant_models") if {
	_granted
}

# A suspended subject may do nothing, whatever is granted.
_suspended if "suspended" in input.subject.roles

# A key without a list of its own may use what its tenant may.
_key_grants if not input.subject.models

_key_grants if {
	patterns := input.subject.models
	model := input.request.model
	_listed(patterns, model)
}

# A level that lists models and leaves this one out withholds it from everybody below.
_withheld if {
	some level in input.subject.levels
	patterns := data.weir.grants[level]
	model := input.request.model
	not _listed(patterns, model)
}

_granted if {
	some level in input.subject.levels
	patterns := data.weir.grants[level]
	model := input.request.model
	_listed(patterns, model)
}

# Whether one of the patterns, exact or a prefix followed by *, names the model.
_listed(patterns, model) if model in patterns

_listed(patterns, model) if {
	some pattern in patterns
	endswith(pattern, "*")
	startswith(model, trim_suffix(pattern, "*"))
}

_allow(rule) := {"allow": true, "rule": rule, "reason": "granted", "obligations": []}

_deny(rule, reason) := {"allow": false, "rule": rule, "reason": reason, "obligations": []}
