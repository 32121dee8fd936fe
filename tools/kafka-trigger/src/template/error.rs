//! The errors of a template.

use thiserror::Error;

/// A template can't be followed. The message says where, the value that stood there, and the values that are allowed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The text is neither YAML nor JSON.
    #[error("the template can't be read at line {line}, column {column}: {problem}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// The problem at this place.
        problem: String,
    },
    /// The text is YAML or JSON, but not a template.
    #[error("this is not a SAM or CloudFormation template: {problem}")]
    Structure {
        /// The part that is missing or in the wrong place.
        problem: String,
    },
    /// The caller gave a value for a name that the template does not have.
    #[error(
        "{name} was given, but the template has no such parameter or resource; its parameters are: {known}"
    )]
    UnknownParameter {
        /// The name that was given.
        name: String,
        /// The template's parameters, comma separated.
        known: String,
    },
    /// A property has a value that is not allowed.
    #[error("{resource}: {property} is {found}; it must be {allowed}")]
    Value {
        /// The resource's logical id.
        resource: String,
        /// The property.
        property: String,
        /// The value in the template.
        found: String,
        /// The allowed values.
        allowed: String,
    },
    /// A required property is missing.
    #[error("{resource}: {property} is missing; it must be {allowed}")]
    Missing {
        /// The resource's logical id.
        resource: String,
        /// The property.
        property: String,
        /// The allowed values.
        allowed: String,
    },
    /// An intrinsic function, a condition or a filter in a property has the wrong form.
    #[error("{resource}: {property}: {problem}")]
    Invalid {
        /// The resource's logical id.
        resource: String,
        /// The property that contains it.
        property: String,
        /// The problem, and the allowed forms.
        problem: String,
    },
    /// A property is needed, but its value is not known. Only a deployment knows it, or the caller did not give it.
    #[error("{resource}: {property} depends on {written}, {why}")]
    Unresolved {
        /// The resource's logical id.
        resource: String,
        /// The property.
        property: String,
        /// The text in the template, such as `!Ref Topic`.
        written: String,
        /// The reason why it has no value, and the way to give it one.
        why: String,
    },
    /// Keys that no property of a mapping has. Most likely they are misspelt. Without this error, their values would be ignored.
    #[error("{resource}: {problem}")]
    UnknownKeys {
        /// The resource's logical id.
        resource: String,
        /// Each key with its path, and the nearest right spelling.
        problem: String,
    },
}
