//! The application's own words in the texts and flags of the command line.

use clap::Command;
use event_sourcing::{Aggregate, View};

/// Puts the application's words into a command: `{kind}` becomes the aggregate's name, `{a-kind}` the name with its article, and
/// `{view}` the view's name.
#[must_use]
pub fn of<A: Aggregate, V: View>(command: Command) -> Command {
    let article = if A::KIND.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let a_kind = format!("{article} {}", A::KIND);
    let named = |text: &dyn ToString| {
        text.to_string().replace("{a-kind}", &a_kind).replace("{kind}", A::KIND).replace("{view}", V::NAME)
    };
    let command = match command.get_about().map(|about| named(about)) {
        Some(about) => command.about(about),
        None => command,
    };
    let command = command.mut_args(|mut arg| {
        if let Some(help) = arg.get_help().map(|help| named(help)) {
            arg = arg.help(help);
        }
        // Clap needs a static text. It is leaked once a process.
        if let Some(long) = arg.get_long().filter(|long| long.contains('{')).map(|long| named(&long)) {
            arg = arg.long(&*long.leak());
        }
        arg
    });
    command.mut_subcommands(of::<A, V>)
}
