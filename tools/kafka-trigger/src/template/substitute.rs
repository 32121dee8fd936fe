//! Splits the text of `Fn::Sub` into pieces.

/// A piece of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// `${Name}`.
    Variable(&'a str),
}

/// Returns the pieces of a text. `${Name}` is a variable, and `${!Name}` is the text `${Name}`. A `${` that is not closed is
/// text.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        pieces.push(Piece::Text(before));
        rest = if let Some(literal) = after.strip_prefix('!') {
            pieces.push(Piece::Text("${"));
            literal
        } else if let Some((name, after)) = after.split_once('}') {
            pieces.push(Piece::Variable(checked(name.trim())?));
            after
        } else {
            pieces.push(Piece::Text("${"));
            after
        };
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    Ok(pieces)
}

fn checked(name: &str) -> Result<&str, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':');
    if name.is_empty() || !name.bytes().all(allowed) {
        let name = super::value::shorten(name);
        return Err(format!("in Fn::Sub, ${{{name}}} must be a name of letters, digits, _, . and :"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::Piece::{Text, Variable};
    use super::*;

    #[test]
    fn a_text_is_taken_apart_at_its_variables() {
        assert_eq!(
            pieces("a-${B}.${C.Arn}").unwrap(),
            [Text("a-"), Variable("B"), Text("."), Variable("C.Arn")]
        );
        assert_eq!(pieces("${!B}${AWS::Region}").unwrap(), [Text("${"), Text("B}"), Variable("AWS::Region")]);
        assert_eq!(pieces("$5 {a} ${open").unwrap(), [Text("$5 {a} "), Text("${"), Text("open")]);
        assert_eq!(pieces("").unwrap(), []);
        assert!(pieces("${a b}").unwrap_err().contains("${a b}"));
        assert!(pieces("${}").is_err());
    }
}
