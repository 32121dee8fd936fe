//! The aggregates and the views that an application has registered, and the flags that choose among several.

use std::collections::HashSet;

use clap::Args;

use crate::CannotStart;
use crate::aggregates::AggregateType;
use crate::views::ViewType;

/// What an application has registered.
#[derive(Clone, Default)]
pub struct Registry {
    /// Its aggregates.
    pub aggregates: Vec<AggregateType>,
    /// Its views.
    pub views: Vec<ViewType>,
}

impl Registry {
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
