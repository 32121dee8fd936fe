//! The aggregates and the views that an application has registered, and the flags that choose among several.

use std::collections::HashSet;

use clap::Args;
use event_store::Namespace;

use crate::CannotStart;
use crate::aggregates::AggregateType;
use crate::views::ViewType;

/// What an application has registered.
#[derive(Clone)]
pub struct Registry {
    /// The application's name.
    pub application: &'static str,
    /// Its aggregates.
    pub aggregates: Vec<AggregateType>,
    /// Its views.
    pub views: Vec<ViewType>,
}

impl Registry {
    /// Returns the namespace of an aggregate in the event store: `<application>_<aggregate>`.
    ///
    /// # Errors
    /// [`CannotStart`] when the names can't be part of one.
    pub fn namespace(&self, aggregate: &AggregateType) -> Result<Namespace, CannotStart> {
        Namespace::of_kind(self.application, aggregate.kind).map_err(|error| CannotStart(error.to_string()))
    }

    /// Returns what stands behind the channel's topic for an aggregate: nothing where there is one aggregate, else its name.
    #[must_use]
    pub fn topic_part(&self, aggregate: &AggregateType) -> Option<&'static str> {
        (self.aggregates.len() > 1).then_some(aggregate.kind)
    }

    /// Checks that names are unique, and that each view has an aggregate.
    ///
    /// # Errors
    /// [`CannotStart`] with the name at fault.
    pub fn check(&self) -> Result<(), CannotStart> {
        let (mut kinds, mut events, mut names) = (HashSet::new(), HashSet::new(), HashSet::new());
        for AggregateType { kind, event, .. } in &self.aggregates {
            if !kinds.insert(kind) || !events.insert(event) {
                return Err(CannotStart(format!(
                    "the aggregate {kind} has the name or the events of another aggregate of the application"
                )));
            }
        }
        for view in &self.views {
            if !names.insert(view.name) {
                return Err(CannotStart(format!(
                    "the application has two views with the name {}",
                    view.name
                )));
            }
            self.aggregate_of(view)?;
        }
        Ok(())
    }

    /// Returns the aggregate from whose events the view is folded.
    ///
    /// # Errors
    /// [`CannotStart`] when the application has no such aggregate.
    pub fn aggregate_of(&self, view: &ViewType) -> Result<&AggregateType, CannotStart> {
        let aggregate = self.aggregates.iter().find(|aggregate| aggregate.event == view.event);
        aggregate.ok_or_else(|| {
            CannotStart(format!(
                "the view {} is folded from events of no aggregate of the application",
                view.name
            ))
        })
    }
}

/// The views that a command works on.
#[derive(Args, Clone, Debug)]
pub struct ViewChoice {
    /// Only this view
    #[arg(long, value_name = "NAME")]
    view: Option<String>,
}

impl ViewChoice {
    /// Returns the view that is named, or all.
    pub fn all<'a>(&self, registry: &'a Registry) -> Vec<&'a ViewType> {
        let is_chosen = |view: &&ViewType| self.view.as_ref().is_none_or(|name| name == view.name);
        registry.views.iter().filter(is_chosen).collect()
    }

    /// Returns the view that is named, or the only one.
    ///
    /// # Errors
    /// [`CannotStart`] when there are several and none is named.
    pub fn one<'a>(&self, registry: &'a Registry) -> Result<&'a ViewType, CannotStart> {
        let views = self.all(registry);
        one(&views, "--view", views.iter().map(|view| view.name)).copied()
    }
}

/// The aggregates that a command works on.
#[derive(Args, Clone, Debug)]
pub struct AggregateChoice {
    /// Only this aggregate
    #[arg(long, value_name = "NAME")]
    aggregate: Option<String>,
}

impl AggregateChoice {
    /// Returns whether the aggregate is named, or none is.
    pub fn is(&self, kind: &str) -> bool {
        self.aggregate.as_ref().is_none_or(|name| name == kind)
    }

    /// Returns those of the items whose aggregate is named; all if none is.
    pub fn all<'a, T>(&self, items: &'a [T], kind: impl Fn(&T) -> &'static str) -> Vec<&'a T> {
        items.iter().filter(|item| self.is(kind(item))).collect()
    }

    /// Returns the item whose aggregate is named, or the only one.
    ///
    /// # Errors
    /// [`CannotStart`] when there are several and none is named.
    pub fn one<'a, T>(
        &self,
        items: &'a [T],
        kind: impl Fn(&T) -> &'static str,
    ) -> Result<&'a T, CannotStart> {
        let chosen = self.all(items, &kind);
        one(&chosen, "--aggregate", chosen.iter().map(|item| kind(item))).copied()
    }
}

fn one<'a, T>(
    items: &'a [T],
    flag: &str,
    names: impl Iterator<Item = &'static str>,
) -> Result<&'a T, CannotStart> {
    match items {
        [item] => Ok(item),
        _ => {
            let allowed: Vec<_> = names.collect();
            Err(CannotStart(format!(
                "give {flag} NAME, because there are several; allowed: {}",
                allowed.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use event_sourcing::testing::{LabelSet, LabelsView, Task, TasksView};

    use super::*;

    fn refusal(aggregates: &[AggregateType], views: &[ViewType]) -> Option<String> {
        let (aggregates, views) = (aggregates.to_vec(), views.to_vec());
        let checked = Registry { application: "tasks", aggregates, views }.check();
        checked.err().map(|refused| refused.to_string())
    }

    #[test]
    fn names_are_unique_and_each_view_has_an_aggregate() {
        let (task, labels) = (AggregateType::of::<Task>(), AggregateType::of::<LabelSet>());
        let (of_tasks, of_labels) = (ViewType::of::<TasksView>(), ViewType::of::<LabelsView>());
        assert_eq!(refusal(&[task, labels], &[of_tasks, of_labels]), None);
        let without = refusal(&[task], &[of_tasks, of_labels]).unwrap();
        assert_eq!(without, "the view labels is folded from events of no aggregate of the application");
        assert!(refusal(&[task, task], &[]).unwrap().contains("the aggregate task has the name"));
        assert!(refusal(&[task], &[of_tasks, of_tasks]).unwrap().contains("two views with the name tasks"));
    }
}
