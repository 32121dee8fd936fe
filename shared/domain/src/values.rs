//! Values of orders, parsed once at the edge. A function that gets one need not check it again.

use std::sync::Arc;

use event_sourcing::{Invalid, text_value};

use crate::visible::refuse_unseen;

text_value! {
    /// The name of an order: 1–255 characters, no control characters. It is cheap to clone.
    OrderName, Arc<str>, "^[^\\u0000-\\u001F\\u007F-\\u009F]{1,255}$"
}

impl OrderName {
    /// Parses a name.
    ///
    /// # Errors
    /// When the text is empty, too long or has a control character.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        line(text, "name").map(|text| Self(text.into()))
    }

    /// Parses a name for a new order, which people must be able to see. An event may have an older name, from before that rule.
    ///
    /// # Errors
    /// As [`OrderName::parse`], and when the text has nothing visible.
    pub fn parse_new(text: &str) -> Result<Self, Invalid> {
        let name = Self::parse(text)?;
        refuse_unseen(text, "name")?;
        Ok(name)
    }
}

text_value! {
    /// The reason why an order failed or was cancelled: 1–255 characters, no control characters.
    Reason, Box<str>, "^[^\\u0000-\\u001F\\u007F-\\u009F]{1,255}$"
}

impl Reason {
    /// Parses a reason.
    ///
    /// # Errors
    /// When the text is empty, too long or has a control character.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        line(text, "reason").map(|text| Self(text.into()))
    }

    /// Parses a new reason from a person, which people must be able to see. An event may have an older reason, from before that
    /// rule.
    ///
    /// # Errors
    /// As [`Reason::parse`], and when the text has nothing visible.
    pub fn parse_new(text: &str) -> Result<Self, Invalid> {
        let reason = Self::parse(text)?;
        refuse_unseen(text, "reason")?;
        Ok(reason)
    }

    /// Returns the nearest allowed reason to any text: control characters become spaces, and a text that is too long is cut. It
    /// is for texts that no client typed, such as another service's answer.
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
