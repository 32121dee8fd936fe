//! Values of orders, parsed once at the edge. Whoever holds one need not check it again.

use std::sync::Arc;

use event_sourcing::{Invalid, text_value};

use crate::visible::refuse_unseen;

text_value! {
    /// What an order is called: 1–255 characters, no control characters.
    /// Cheap to clone.
    OrderName, Arc<str>
}

impl OrderName {
    /// # Errors
    /// When the text is empty, too long or has a control character.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        line(text, "name").map(|text| Self(text.into()))
    }

    /// A name for a new order, which people can see. What an event has may be from before that was asked.
    ///
    /// # Errors
    /// As [`OrderName::parse`], and when it shows nothing.
    pub fn parse_new(text: &str) -> Result<Self, Invalid> {
        let name = Self::parse(text)?;
        refuse_unseen(text, "name")?;
        Ok(name)
    }
}

text_value! {
    /// Why an order failed or was cancelled: 1–255 characters, no control characters.
    Reason, Box<str>
}

impl Reason {
    /// # Errors
    /// When the text is empty, too long or has a control character.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        line(text, "reason").map(|text| Self(text.into()))
    }

    /// A reason that somebody gives, which people can see. What an event has may be from before that was asked.
    ///
    /// # Errors
    /// As [`Reason::parse`], and when it shows nothing.
    pub fn parse_new(text: &str) -> Result<Self, Invalid> {
        let reason = Self::parse(text)?;
        refuse_unseen(text, "reason")?;
        Ok(reason)
    }

    /// The nearest allowed reason to any text: control characters become spaces, and what is too long is cut.
    /// For texts that no client typed, such as another service's answer.
    #[must_use]
    pub fn from_any(text: &str) -> Self {
        let cleaned: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(255).collect();
        let trimmed = cleaned.trim();
        Self(if trimmed.is_empty() { "no reason given" } else { trimmed }.into())
    }
}

fn line<'a>(text: &'a str, what: &'static str) -> Result<&'a str, Invalid> {
    let refuse = |problem: String| Invalid {
        what,
        problem,
        allowed: "1 to 255 characters without control characters",
    };
    if text.is_empty() {
        return Err(refuse("is empty".into()));
    }
    let length = text.chars().count();
    if length > 255 {
        return Err(refuse(format!("has {length} characters")));
    }
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        return Err(refuse(format!("has the control character {control:?}")));
    }
    Ok(text)
}
