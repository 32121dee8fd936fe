//! The application's own words in the texts and flags of the command line.

use clap::Command;
use clap::builder::PossibleValuesParser;

use crate::registry::Registry;

/// The words of an application. With one aggregate or one view, texts have its name. With several they speak of any.
struct Words {
    kind: String,
    a_kind: String,
    the_view: String,
    aggregates: Vec<&'static str>,
    views: Vec<&'static str>,
}

impl Words {
    fn of(registry: &Registry) -> Self {
        let aggregates: Vec<_> = registry.aggregates.iter().map(|aggregate| aggregate.kind).collect();
        let views: Vec<_> = registry.views.iter().map(|view| view.name).collect();
        let kind = only(&aggregates).unwrap_or("stream");
        let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        let the_view = only(&views).map_or("each view".to_owned(), |name| format!("the {name} view"));
        Self { kind: kind.to_owned(), a_kind: format!("{article} {kind}"), the_view, aggregates, views }
    }

    fn put_into(&self, text: &dyn ToString) -> String {
        let text = text.to_string().replace("{a-kind}", &self.a_kind).replace("{kind}", &self.kind);
        text.replace("{the-view}", &self.the_view)
    }
}

fn only(names: &[&'static str]) -> Option<&'static str> {
    match names {
        [name] => Some(name),
        _ => None,
    }
}

/// Puts the application's words into a command: `{kind}` becomes the aggregate's name, `{a-kind}` the name with its article, and
/// `{the-view}` the view. The flags `--aggregate` and `--view` take the names that there are; where there is one, the help does not
/// show the flag.
#[must_use]
pub fn of(command: Command, registry: &Registry) -> Command {
    named(command, &Words::of(registry))
}

fn named(command: Command, words: &Words) -> Command {
    let command = match command.get_about().map(|about| words.put_into(about)) {
        Some(about) => command.about(about),
        None => command,
    };
    let command = command.mut_args(|mut arg| {
        if let Some(help) = arg.get_help().map(|help| words.put_into(help)) {
            arg = arg.help(help);
        }
        // Clap needs a static text. It is leaked once a process.
        if let Some(long) = arg.get_long().filter(|long| long.contains('{')).map(|long| words.put_into(&long))
        {
            arg = arg.long(&*long.leak());
        }
        let names = match arg.get_id().as_str() {
            "aggregate" => &words.aggregates,
            "view" => &words.views,
            _ => return arg,
        };
        arg.value_parser(PossibleValuesParser::new(names.iter().copied())).hide(names.len() < 2)
    });
    command.mut_subcommands(|command| named(command, words))
}
