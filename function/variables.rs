//! The variables of the environment that options are given as, and what was meant by others that are called alike.

use std::collections::BTreeSet;
use std::env;

use clap::Command;

/// What the names of most of them begin with.
const OURS: &str = "FIRSTLIGHT_";

/// Warns of variables that look as if they were options, and are none: a key that was misspelled guards nothing.
pub(crate) fn warn_of_unknown(command: &Command) {
    let names: Vec<String> =
        env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    if let Some(warning) = warning(command, &names) {
        tracing::warn!("{warning}");
    }
}

/// One line of all that are not known.
fn warning(command: &Command, names: &[String]) -> Option<String> {
    let ours = names.iter().filter(|name| name.starts_with(OURS));
    let ours: Vec<&String> = ours.filter(|name| !is_of_a_service(name, names)).collect();
    if ours.is_empty() {
        return None;
    }
    let known = known(command);
    let unknown = ours.into_iter().filter(|name| !known.contains(name.as_str()));
    let said: Vec<String> = unknown.map(|name| said(name, &known)).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// Those of all commands.
fn known(command: &Command) -> BTreeSet<&str> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
    own.chain(command.get_subcommands().flat_map(known)).collect()
}

fn said(name: &str, known: &BTreeSet<&str>) -> String {
    // As of `PORT` and `MODEL`, which other programs know too.
    let short = name.trim_start_matches(OURS);
    let nearest = firstlight_plan::nearest(name, known.iter().copied());
    let meant = if known.contains(short) { short } else { nearest[0] };
    format!("no option has the variable `{name}`; did you mean `{meant}`?")
}

/// Kubernetes tells each container of the services beside it: of `firstlight`, `FIRSTLIGHT_SERVICE_HOST` and
/// `FIRSTLIGHT_PORT_80_TCP`, and more of both kinds.
fn is_of_a_service(name: &str, names: &[String]) -> bool {
    let services = names.iter().filter_map(|name| name.strip_suffix("_SERVICE_HOST"));
    let mut rests = services.filter_map(|service| name.strip_prefix(service));
    rests.any(|rest| rest.starts_with("_SERVICE_") || rest.starts_with("_PORT"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn said_of(names: &[&str]) -> Option<String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        warning(&Cli::command(), &names)
    }

    #[test]
    fn what_no_option_has_is_named_with_what_was_meant() {
        let said = said_of(&["FIRSTLIGHT_APIKEY", "HOME", "FIRSTLIGHT_LOG", "FIRSTLIGHT_MODEL"]);
        let expected = "no option has the variable `FIRSTLIGHT_APIKEY`; did you mean `FIRSTLIGHT_API_KEY`?; no option \
                        has the variable `FIRSTLIGHT_MODEL`; did you mean `MODEL`?";
        assert_eq!(said.as_deref(), Some(expected));
    }

    #[test]
    fn options_of_all_commands_are_known() {
        assert_eq!(said_of(&["FIRSTLIGHT_PROMPT", "FIRSTLIGHT_API_KEY", "FIRSTLIGHT_LINK"]), None);
    }

    #[test]
    fn what_kubernetes_says_of_a_service_is_no_option() {
        let told = ["FIRSTLIGHT_SERVICE_HOST", "FIRSTLIGHT_SERVICE_PORT", "FIRSTLIGHT_PORT_80_TCP"];
        assert_eq!(said_of(&told), None);
        assert_eq!(said_of(&["FIRSTLIGHT_STORY_SERVICE_HOST", "FIRSTLIGHT_STORY_PORT"]), None);
        assert!(said_of(&["FIRSTLIGHT_PORT"]).unwrap().ends_with("did you mean `PORT`?"));
    }
}
