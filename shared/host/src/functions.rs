//! The functions of an application: what they are made from, and how they are made.
//!
//! A function takes its parts as arguments, and each argument's type says what it is, as in Axum's handlers. A function that asks for
//! an aggregate or a view that the application lacks stops the start, with its name.

use clap::{ArgMatches, Args, Command, FromArgMatches};
use command_handler::CommandHandler;
use event_source_mapping::Trigger;
use event_sourcing::{Aggregate, View};
use event_store::{EventStore, Of, Reminders};
use futures_util::future::{BoxFuture, join_all};
use read_store::ReadStore;
use runtime::Routes;
use tokio::sync::watch;

use crate::CannotStart;
use crate::aggregates::OpenAggregate;
use crate::stores::Stores;

/// What functions are made from.
pub struct Parts<'a> {
    /// The application's name.
    pub application: &'static str,
    /// The open stores.
    pub stores: &'a Stores,
    /// The flags of the command that runs.
    pub flags: &'a ArgMatches,
    /// True once work has to end.
    pub stop: &'a watch::Receiver<bool>,
}

/// An argument of a function.
///
/// - `CommandHandler<Task>`: the commands of an aggregate.
/// - `Of<Task, EventStore>` and `Of<Task, Reminders>`: its event store without a channel, and its reminders.
/// - `ReadStore<TasksView>`: a view.
/// - `watch::Receiver<bool>`: true once work has to end.
/// - any clap settings: their flags become flags of the commands that need the function.
///
/// `Origin` keeps settings apart from all others; it is inferred.
pub trait FromApplication<Origin = FromStores>: Sized {
    /// Adds the flags from which the argument is made.
    #[must_use]
    fn flags(command: Command) -> Command {
        command
    }

    /// Returns the argument.
    ///
    /// # Errors
    /// [`CannotStart`] with the name of what the application lacks.
    fn from_application(parts: &Parts<'_>) -> Result<Self, CannotStart>;
}

/// The origin of an argument that is made from the stores.
pub enum FromStores {}

/// The origin of an argument that is made from flags.
pub enum FromFlags {}

impl<A: Aggregate> FromApplication for CommandHandler<A> {
    fn from_application(parts: &Parts<'_>) -> Result<Self, CannotStart> {
        aggregate::<A>(parts).map(|(_, handler)| handler.clone())
    }
}

impl<A: Aggregate> FromApplication for Of<A, EventStore> {
    fn from_application(parts: &Parts<'_>) -> Result<Self, CannotStart> {
        aggregate::<A>(parts).map(|(_, handler)| Self::new(handler.store().clone()))
    }
}

impl<A: Aggregate> FromApplication for Of<A, Reminders> {
    fn from_application(parts: &Parts<'_>) -> Result<Self, CannotStart> {
        aggregate::<A>(parts).map(|(open, _)| Self::new(open.reminders.clone()))
    }
}

impl<V: View> FromApplication for ReadStore<V> {
    fn from_application(parts: &Parts<'_>) -> Result<Self, CannotStart> {
        let view = parts.stores.views.iter().find_map(|view| view.store_of::<V>()).cloned();
        view.ok_or_else(|| {
            let name = V::NAME;
            CannotStart(format!("a function needs the view {name}, which the application has not registered"))
        })
    }
}

impl FromApplication for watch::Receiver<bool> {
    fn from_application(parts: &Parts<'_>) -> Result<Self, CannotStart> {
        Ok(parts.stop.clone())
    }
}

impl<S: Args> FromApplication<FromFlags> for S {
    fn flags(command: Command) -> Command {
        S::augment_args(command)
    }

    fn from_application(parts: &Parts<'_>) -> Result<Self, CannotStart> {
        settings_of(parts.flags)
    }
}

fn aggregate<'a, A: Aggregate>(
    parts: &Parts<'a>,
) -> Result<(&'a OpenAggregate, &'a CommandHandler<A>), CannotStart> {
    let found = parts.stores.aggregates.iter().find_map(|open| Some((open, open.handler_of::<A>()?)));
    found.ok_or_else(|| {
        let kind = A::KIND;
        CannotStart(format!(
            "a function needs the aggregate {kind}, which the application has not registered"
        ))
    })
}

/// Settings of one kind, of all that were parsed.
///
/// # Errors
/// [`CannotStart`] when one is missing.
pub fn settings_of<S: FromArgMatches>(matches: &ArgMatches) -> Result<S, CannotStart> {
    S::from_arg_matches(matches).map_err(|error| CannotStart(error.to_string()))
}

/// A function whose arguments implement [`FromApplication`].
pub trait Function<Arguments>: Send + Sync + 'static {
    /// The function's result.
    type Output;

    /// Adds the flags of all arguments.
    fn flags(command: Command) -> Command;

    /// Calls the function.
    ///
    /// # Errors
    /// [`CannotStart`] when the application lacks an argument.
    fn call(&self, parts: &Parts<'_>) -> Result<Self::Output, CannotStart>;
}

macro_rules! function_of {
    ($($argument:ident from $origin:ident),*) => {
        impl<F, Output, $($argument, $origin),*> Function<($(($argument, $origin),)*)> for F
        where
            F: Fn($($argument),*) -> Output + Send + Sync + 'static,
            $($argument: FromApplication<$origin>,)*
        {
            type Output = Output;

            fn flags(command: Command) -> Command {
                $(let command = $argument::flags(command);)*
                command
            }

            fn call(&self, _parts: &Parts<'_>) -> Result<Output, CannotStart> {
                Ok(self($($argument::from_application(_parts)?),*))
            }
        }
    };
}

function_of!();
function_of!(A1 from O1);
function_of!(A1 from O1, A2 from O2);
function_of!(A1 from O1, A2 from O2, A3 from O3);
function_of!(A1 from O1, A2 from O2, A3 from O3, A4 from O4);
function_of!(A1 from O1, A2 from O2, A3 from O3, A4 from O4, A5 from O5);

/// The result of a function that makes a trigger: a [`Trigger`], or a result with one.
pub trait IntoTrigger {
    /// Returns the trigger.
    ///
    /// # Errors
    /// [`CannotStart`] when the function could not make it.
    fn into_trigger(self) -> Result<Trigger, CannotStart>;
}

impl IntoTrigger for Trigger {
    fn into_trigger(self) -> Result<Trigger, CannotStart> {
        Ok(self)
    }
}

impl<E: std::fmt::Display> IntoTrigger for Result<Trigger, E> {
    fn into_trigger(self) -> Result<Trigger, CannotStart> {
        self.map_err(|error| CannotStart(error.to_string()))
    }
}

type Make<T> = dyn Fn(&Parts<'_>) -> Result<T, CannotStart> + Send + Sync;

/// A function that is made from parts.
struct Factory<T> {
    flags: fn(Command) -> Command,
    make: Box<Make<T>>,
}

impl<T> Factory<T> {
    fn new<Arguments, F: Function<Arguments>>(
        function: F,
        finish: impl Fn(F::Output) -> Result<T, CannotStart> + Send + Sync + 'static,
    ) -> Self {
        Self { flags: F::flags, make: Box::new(move |parts| finish(function.call(parts)?)) }
    }
}

fn make_all<T>(functions: &[Factory<T>], parts: &Parts<'_>) -> Result<Vec<T>, CannotStart> {
    functions.iter().map(|function| (function.make)(parts)).collect()
}

fn add_flags<T>(functions: &[Factory<T>], command: Command) -> Command {
    functions.iter().fold(command, |command, function| (function.flags)(command))
}

/// The functions that an application has, by what they do.
#[derive(Default)]
pub struct Functions {
    http: Vec<Factory<Routes>>,
    triggers: Vec<Factory<Trigger>>,
    tasks: Vec<Factory<BoxFuture<'static, ()>>>,
    measures: Vec<Factory<BoxFuture<'static, ()>>>,
}

impl Functions {
    /// Adds a function that answers HTTP.
    pub fn add_http<Arguments>(&mut self, function: impl Function<Arguments, Output = Routes>) {
        self.http.push(Factory::new(function, Ok));
    }

    /// Adds a function that takes batches.
    pub fn add_trigger<Arguments, F: Function<Arguments, Output: IntoTrigger + 'static>>(
        &mut self,
        function: F,
    ) {
        self.triggers.push(Factory::new(function, IntoTrigger::into_trigger));
    }

    /// Adds work beside the API.
    pub fn add_task<Arguments, F>(&mut self, function: F)
    where
        F: Function<Arguments, Output: Future<Output = ()> + Send + 'static>,
    {
        self.tasks.push(Factory::new(function, |task| Ok(Box::pin(task) as BoxFuture<_>)));
    }

    /// Adds a measurement.
    pub fn add_measure<Arguments, F>(&mut self, function: F)
    where
        F: Function<Arguments, Output: Future + Send + 'static>,
    {
        // Where a store does not answer, the last figures stand.
        let measured = |measure: F::Output| Ok(Box::pin(async { drop(measure.await) }) as BoxFuture<_>);
        self.measures.push(Factory::new(function, measured));
    }

    /// Adds the flags of whatever receives.
    #[must_use]
    pub fn trigger_flags(&self, command: Command) -> Command {
        add_flags(&self.triggers, command)
    }

    /// Adds the flags that only a server has.
    #[must_use]
    pub fn server_flags(&self, command: Command) -> Command {
        let command = add_flags(&self.http, command);
        add_flags(&self.measures, add_flags(&self.tasks, command))
    }

    /// Makes all routes.
    ///
    /// # Errors
    /// [`CannotStart`] when the application lacks what a function needs.
    pub fn routes(&self, parts: &Parts<'_>) -> Result<Routes, CannotStart> {
        Ok(make_all(&self.http, parts)?.into_iter().fold(Routes::default(), Routes::merge))
    }

    /// Makes all triggers. The names of their consumer groups begin with the application's.
    ///
    /// # Errors
    /// As [`Functions::routes`], and when a function can't be made.
    pub fn triggers(&self, parts: &Parts<'_>) -> Result<Vec<Trigger>, CannotStart> {
        let mut triggers = make_all(&self.triggers, parts)?;
        for Trigger { mapping, .. } in &mut triggers {
            mapping.group = format!("{}-{}", parts.application, mapping.group);
        }
        Ok(triggers)
    }

    /// Makes the work beside the API.
    ///
    /// # Errors
    /// As [`Functions::routes`].
    pub fn tasks(&self, parts: &Parts<'_>) -> Result<Vec<BoxFuture<'static, ()>>, CannotStart> {
        make_all(&self.tasks, parts)
    }

    /// Makes every measurement once more. The future ends when all are done.
    ///
    /// # Errors
    /// As [`Functions::routes`].
    pub fn measures(&self, parts: &Parts<'_>) -> Result<impl Future + Send + use<>, CannotStart> {
        Ok(join_all(make_all(&self.measures, parts)?))
    }
}

#[cfg(test)]
mod tests {
    use event_sourcing::testing::{Task, TasksView};

    use super::*;

    /// Returns the refusal of an application without aggregates and views.
    fn refusal<Arguments>(function: impl Function<Arguments, Output = Routes>) -> String {
        let stores = Stores { aggregates: [].into(), views: [].into() };
        let (flags, (_, stop)) = (Command::new("tasks").get_matches_from(["tasks"]), watch::channel(false));
        let mut functions = Functions::default();
        functions.add_http(function);
        let routes =
            functions.routes(&Parts { application: "tasks", stores: &stores, flags: &flags, stop: &stop });
        routes.expect_err("a refusal").to_string()
    }

    #[test]
    fn what_is_not_registered_stops_the_start_by_name() {
        let needs = |what: &str| format!("a function needs {what}, which the application has not registered");
        assert_eq!(refusal(|_: CommandHandler<Task>| Routes::default()), needs("the aggregate task"));
        assert_eq!(refusal(|_: Of<Task, EventStore>| Routes::default()), needs("the aggregate task"));
        assert_eq!(refusal(|_: Of<Task, Reminders>| Routes::default()), needs("the aggregate task"));
        let of_view = |_: watch::Receiver<bool>, _: ReadStore<TasksView>| Routes::default();
        assert_eq!(refusal(of_view), needs("the view tasks"));
    }
}
