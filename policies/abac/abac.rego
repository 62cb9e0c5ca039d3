# METADATA
# title: Who may do what, by attributes
# description: >-
#   Rules that are switched on by data, on top of the grants of weir.authz, which decide first: what they refuse, nothing
#   here gives back. Each rule stands under data.weir.rules and does nothing while its data is absent.
package weir.abac

# METADATA
# title: The decision
# description: >-
#   The grants of the tenant path, then every rule that denies, then what is demanded of an allowed call. Of several
#   denials the first by name is told.
# entrypoint: true
default decision := {"allow": false, "rule": "default_deny", "reason": "not_allowed"}

decision := _grants if {
	not _grants.allow
} else := {"allow": false, "rule": _first, "reason": _reasons[_first]} if {
	_first
} else := {"allow": true, "rule": _grants.rule, "reason": "granted", "obligations": _obligations} if {
	_grants.allow
}

# Named once: a document that rules and data share is dear to step through.
_grants := data.weir.authz.decision

_rules := data.weir.rules

# A call, and not the question which models are listed.
_is_call if input.request.endpoint != "models"

_first := min(_denials)

_reasons := {
	"client_address": "address_not_allowed",
	"data_class": "data_class_not_allowed",
	"model_attributes": "attributes_do_not_fit",
	"office_hours": "outside_hours",
	"residency": "residency_unknown",
	"role_endpoints": "endpoint_not_allowed",
	"token_cap": "too_many_tokens",
	"tools": "tool_not_allowed",
}

# Permissions of roles: rules.roles = {"developer": {"endpoints": ["chat_completions"]}}. Where it is there, one role must allow.
_denials contains "role_endpoints" if {
	_is_call
	roles := _rules.roles
	allowed := {endpoint | some role in input.subject.roles; some endpoint in roles[role].endpoints}
	not input.request.endpoint in allowed
}

# A model for some only: rules.models = {"report-analysis": {"department": ["finance"]}}.
_denials contains "model_attributes" if {
	some attribute, texts in _rules.models[input.request.model]
	not _attribute_in(attribute, texts)
}

_attribute_in(attribute, texts) if input.subject.attributes[attribute] in texts

# Hours of a role, UTC: rules.hours = {"contractor": {"weekdays": [1, 2, 3, 4, 5], "from": 8, "to": 18}}.
_denials contains "office_hours" if {
	_is_call
	some role in input.subject.roles
	hours := _rules.hours[role]
	not _is_within(hours)
}

_is_within(hours) if {
	input.time.weekday in hours.weekdays
	input.time.hour >= hours.from
	input.time.hour < hours.to
}

# Networks of a level and below: rules.networks = {"acme": ["192.0.2.0/24"]}.
_denials contains "client_address" if {
	_is_call
	some level in input.subject.levels
	networks := _rules.networks[level]
	not _is_from(networks)
}

_is_from(networks) if {
	some network in networks
	net.cidr_contains(network, input.client.ip)
}

# Classes of data: a subject's attribute data_class must be one that some deployment may be sent.
# rules.data_classes = {"secret": ["secret"], "internal": ["secret", "internal"]}: class -> classes of deployments.
_denials contains "data_class" if {
	_is_call
	_rules.data_classes
	count(_fitting) == 0
}

_fitting contains candidate.deployment if {
	some candidate in input.resource.candidates
	candidate.data_class in _rules.data_classes[input.subject.attributes.data_class]
}

# Where residency is demanded, a subject that nothing binds to a region may call nowhere.
_denials contains "residency" if {
	_is_call
	attribute := _rules.residency
	not input.subject.attributes[attribute]
}

# Output tokens that a role may ask for: rules.token_caps = {"intern": {"refuse_above": 512, "max_tokens": 256}}.
# A bound that is no number bounds at nothing, since any text counts as greater than every number.
_denials contains "token_cap" if {
	some role in input.subject.roles
	bound := _rules.token_caps[role].refuse_above
	asked := input.request.max_tokens
	_is_above(asked, bound)
}

_is_above(tokens, bound) if tokens > bound

_is_above(_, bound) if not is_number(bound)

# Tools that a level and below may offer: rules.tools = {"acme": ["get_weather"]}.
_denials contains "tools" if {
	some level in input.subject.levels
	allowed := _rules.tools[level]
	some tool in input.request.tools
	not tool in allowed
}

_obligations := object.union_n([_residency, _cap, _class_route])

# Residency: rules.residency = "region" names the attribute that binds a subject to a region.
default _residency := {}

_residency := {"route": {"region": [region]}} if region := input.subject.attributes[_rules.residency]

default _cap := {}

_cap := {"limit": {"max_tokens": min(_caps)}} if count(_caps) > 0

_caps contains cap if {
	some role in input.subject.roles
	cap := _rules.token_caps[role].max_tokens
}

default _class_route := {}

# Deployments of another class are left out.
_class_route := {"route": {"exclude": sort(_unfit)}} if {
	_rules.data_classes
	count(_unfit) > 0
}

_unfit contains candidate.deployment if {
	some candidate in input.resource.candidates
	not candidate.deployment in _fitting
}
