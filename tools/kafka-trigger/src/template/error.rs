//! What can be wrong with a template.

use thiserror::Error;

/// A template can't be followed: says where, what stood there and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The text is neither YAML nor JSON.
    #[error("the template can't be read at line {line}, column {column}: {problem}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
    /// It is YAML or JSON and no template.
    #[error("this is not a SAM or CloudFormation template: {problem}")]
    Structure {
        /// What is missing or out of place.
        problem: String,
    },
    /// A parameter was given that the template has no use for.
    #[error(
        "{name} was given, but the template has no such parameter or resource; its parameters are: {known}"
    )]
    UnknownParameter {
        /// What was given.
        name: String,
        /// The template's parameters, comma separated.
        known: String,
    },
    /// A property has a value that it can't have.
    #[error("{resource}: {property} is {found}; it must be {allowed}")]
    Value {
        /// The resource's logical id.
        resource: String,
        /// The property.
        property: String,
        /// What stood there.
        found: String,
        /// What may stand there.
        allowed: String,
    },
    /// A property must be there and is not.
    #[error("{resource}: {property} is missing; it must be {allowed}")]
    Missing {
        /// The resource's logical id.
        resource: String,
        /// The property.
        property: String,
        /// What must stand there.
        allowed: String,
    },
    /// An intrinsic function, a condition or a filter in a property is not written as it must be.
    #[error("{resource}: {property}: {problem}")]
    Invalid {
        /// The resource's logical id.
        resource: String,
        /// The property in which it stands.
        property: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A property is needed, and its value is known only when the template is deployed, or not given.
    #[error("{resource}: {property} depends on {written}, {why}")]
    Unresolved {
        /// The resource's logical id.
        resource: String,
        /// The property.
        property: String,
        /// What stood there, as `!Ref Topic`.
        written: String,
        /// Why it has no value, and how to give it one.
        why: String,
    },
    /// Keys that no property of a mapping has: most likely they are misspelt, and what they should say would not be followed.
    #[error("{resource}: {problem}")]
    UnknownKeys {
        /// The resource's logical id.
        resource: String,
        /// Each with its path and the nearest right spelling.
        problem: String,
    },
}
