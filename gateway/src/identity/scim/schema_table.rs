//! The schemas: the core ones of users and groups, and the enterprise extension (RFC 7643, sections 3.1, 4 and 8.7).
//! `password` is left out: Weir checks none, so it takes none.

use super::schema::{Attribute, Kind, Schema};

const fn text(name: &'static str, doc: &'static str) -> Attribute {
    Attribute::text(name, doc)
}

const PRIMARY: Attribute = Attribute::of("primary", Kind::Bool, "Whether it is the preferred one of its kind.");
const DISPLAY: Attribute = text("display", "How it is shown.");
const TYPE: Attribute = text("type", "What it is used for.");
const WORK: &[&str] = &["work", "home", "other"];

/// Attributes that every resource has.
pub(super) const COMMON: &[Attribute] = &[
    text("id", "The id that Weir gave.").exact().unique().read_only().always(),
    text("externalId", "The id that the client gave.").exact(),
    text("schemas", "What it consists of.").exact().many().read_only().always(),
    Attribute::complex("meta", META, "What Weir knows of it.").read_only(),
];

const META: &[Attribute] = &[
    text("resourceType", "Its type.").exact().read_only(),
    Attribute::of("created", Kind::Time, "When it was made.").read_only(),
    Attribute::of("lastModified", Kind::Time, "When it was changed.").read_only(),
    Attribute::of("location", Kind::Reference(&["uri"]), "Where it is.").read_only(),
];

/// A person.
pub(super) const USER: Schema = Schema {
    id: "urn:ietf:params:scim:schemas:core:2.0:User",
    name: "User",
    doc: "A person who calls models.",
    attributes: &[
        text("userName", "The name that the person signs in with.").required().unique(),
        Attribute::complex("name", NAME, "The parts of the person's name."),
        text("displayName", "The name that others see."),
        text("nickName", "What friends call the person."),
        Attribute::of("profileUrl", Kind::Reference(&["external"]), "The person's page."),
        text("title", "The person's title, such as Vice President."),
        text("userType", "How the person belongs to the organisation, such as Employee."),
        text("preferredLanguage", "The language that the person prefers (RFC 7231, section 5.3.5)."),
        text("locale", "The person's place, for the form of numbers and dates."),
        text("timezone", "The person's time zone, by its name in the IANA database."),
        Attribute::of("active", Kind::Bool, "Whether the person's keys and tokens are served."),
        Attribute::complex("emails", EMAIL, "E-mail addresses.").many(),
        Attribute::complex("phoneNumbers", PHONE, "Telephone numbers.").many(),
        Attribute::complex("ims", IM, "Addresses of instant messaging.").many(),
        Attribute::complex("photos", PHOTO, "Pictures of the person.").many(),
        Attribute::complex("addresses", ADDRESS, "Postal addresses.").many(),
        Attribute::complex("groups", GROUPS, "Groups that the person is a member of.").many().read_only(),
        Attribute::complex("entitlements", PLAIN, "Things that the person has a right to.").many(),
        Attribute::complex("roles", PLAIN, "Roles elsewhere; Weir's own come of groups.").many(),
        Attribute::complex("x509Certificates", CERTIFICATE, "Certificates of the person.").many(),
    ],
};

const NAME: &[Attribute] = &[
    text("formatted", "The whole name."),
    text("familyName", "The family name."),
    text("givenName", "The given name."),
    text("middleName", "The middle names."),
    text("honorificPrefix", "What stands before the name."),
    text("honorificSuffix", "What stands after the name."),
];
const EMAIL: &[Attribute] = &[text("value", "The address."), DISPLAY, TYPE.usually(WORK), PRIMARY];
const PHONE: &[Attribute] = &[
    text("value", "The number."),
    DISPLAY,
    TYPE.usually(&["work", "home", "mobile", "fax", "pager", "other"]),
    PRIMARY,
];
const IM: &[Attribute] = &[
    text("value", "The address."),
    DISPLAY,
    TYPE.usually(&["aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"]),
    PRIMARY,
];
const PHOTO: &[Attribute] = &[
    Attribute::of("value", Kind::Reference(&["external"]), "Where the picture is."),
    DISPLAY,
    TYPE.usually(&["photo", "thumbnail"]),
    PRIMARY,
];
const ADDRESS: &[Attribute] = &[
    text("formatted", "The whole address."),
    text("streetAddress", "Street and number."),
    text("locality", "The town."),
    text("region", "The state or region."),
    text("postalCode", "The postal code."),
    text("country", "The country, by its ISO 3166-1 code."),
    TYPE.usually(WORK),
    PRIMARY,
];
const GROUPS: &[Attribute] = &[
    text("value", "The group's id.").exact().read_only(),
    Attribute::of("$ref", Kind::Reference(&["Group"]), "Where the group is.").read_only(),
    DISPLAY.read_only(),
    TYPE.usually(&["direct", "indirect"]).read_only(),
];
const PLAIN: &[Attribute] = &[text("value", "Its name."), DISPLAY, TYPE, PRIMARY];
const CERTIFICATE: &[Attribute] =
    &[Attribute::of("value", Kind::Binary, "The certificate in DER, as base64."), DISPLAY, TYPE, PRIMARY];

/// A group.
pub(super) const GROUP: Schema = Schema {
    id: "urn:ietf:params:scim:schemas:core:2.0:Group",
    name: "Group",
    doc: "People who belong together; roles come of groups.",
    attributes: &[
        text("displayName", "The group's name; it is what roles are given by.").required(),
        Attribute::complex("members", MEMBERS, "Who belongs to it.").many(),
    ],
};

const MEMBERS: &[Attribute] = &[
    text("value", "The member's id.").exact().immutable(),
    Attribute::of("$ref", Kind::Reference(&["User", "Group"]), "Where the member is.").immutable(),
    TYPE.usually(&["User", "Group"]).immutable(),
];

/// What enterprises add to a person.
pub(super) const ENTERPRISE: Schema = Schema {
    id: "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
    name: "EnterpriseUser",
    doc: "What enterprises say of a person.",
    attributes: &[
        text("employeeNumber", "The person's number."),
        text("costCenter", "The cost centre."),
        text("organization", "The organisation."),
        text("division", "The division."),
        text("department", "The department."),
        Attribute::complex("manager", MANAGER, "The person's manager."),
    ],
};

const MANAGER: &[Attribute] = &[
    text("value", "The manager's id.").exact(),
    Attribute::of("$ref", Kind::Reference(&["User"]), "Where the manager is."),
];
