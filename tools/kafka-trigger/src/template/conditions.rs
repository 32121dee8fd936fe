//! Evaluates `Conditions`, which decide the parts of a template that exist.

use super::evaluate::{EvalResult, Evaluator, wrong};
use super::node::Node;
use super::scalars;
use super::value::names;

impl Evaluator<'_> {
    /// Does a condition hold? Each is evaluated once.
    pub(super) fn condition(&self, name: &str) -> EvalResult<bool> {
        if let Some(known) = self.conditions.borrow().get(name) {
            let itself = || wrong(format!("condition {name} depends on itself"));
            return known.clone().unwrap_or_else(itself);
        }
        let condition = |name: &str| self.template.at(&["Conditions", name]);
        // YAML turns the name `Yes` into `true`, unless a short tag stands before it. So the name is looked up as it is written,
        // and then as YAML reads it.
        let resolved = || scalars::plain(name).text().and_then(condition);
        let Some(condition) = condition(name).or_else(resolved) else {
            let conditions = self.template.get("Conditions").and_then(Node::map);
            let known = names(conditions.iter().flat_map(|map| map.keys()).map(String::as_str));
            return wrong(format!("the template has no condition {name}; its conditions are: {known}"));
        };
        self.conditions.borrow_mut().insert(name.to_owned(), None);
        let holds = self.holds(condition);
        self.conditions.borrow_mut().insert(name.to_owned(), Some(holds.clone()));
        holds
    }

    fn holds(&self, node: &Node) -> EvalResult<bool> {
        self.deeper(|| match node.intrinsic() {
            Some(("Condition", given)) => match given.text() {
                Some(name) => self.condition(name),
                None => wrong(format!("{node}: Condition must be given a name")),
            },
            Some(("Fn::Equals", given)) => {
                let [one, other] = self.arguments(given, node, "two values")?;
                Ok(self.value(one)? == self.value(other)?)
            }
            Some(("Fn::Not", given)) => {
                let [condition] = self.arguments(given, node, "one condition, in a list")?;
                Ok(!self.holds(condition)?)
            }
            Some(("Fn::And", Node::List(conditions))) => self.decided_by(false, conditions),
            Some(("Fn::Or", Node::List(conditions))) => self.decided_by(true, conditions),
            _ => wrong(format!(
                "{node} is not a condition; it must be Fn::Equals, Fn::And, Fn::Or, Fn::Not or Condition"
            )),
        })
    }

    /// Returns `decisive` if one condition has this value, whatever errors the others have. Else it returns the first error, or
    /// the opposite value.
    fn decided_by(&self, decisive: bool, conditions: &[Node]) -> EvalResult<bool> {
        let mut first = None;
        for condition in conditions {
            match self.holds(condition) {
                Ok(holds) if holds == decisive => return Ok(decisive),
                Ok(_) => {}
                Err(trouble) => first = first.or(Some(trouble)),
            }
        }
        first.map_or(Ok(!decisive), Err)
    }
}
