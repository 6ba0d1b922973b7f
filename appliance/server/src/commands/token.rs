//! `keepfast token create`.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use model::record::{Label, RestoreGrant};
use terminal::Done;
use wire::{Reply, Request};

use crate::access::Access;
use crate::cli::TokenCommand;

pub(crate) fn run(command: TokenCommand) -> anyhow::Result<Done> {
    let TokenCommand::Create { machine, listing, allow_restore, own_domain, address } = command;
    let restore = match allow_restore.as_deref() {
        None => RestoreGrant::None,
        Some("all") => RestoreGrant::All,
        Some(names) => {
            let names = names.split(',').filter(|name| !name.is_empty());
            RestoreGrant::Machines(names.map(Label::new).collect::<Result<_, _>>()?)
        }
    };
    let machine = Label::new(&machine)?;
    let access = Access::open(&listing.data.data)?;
    let request = Request::CreateToken { machine, restore, own_domain, address };
    let Reply::Token { text, expires } = access.ask(request)? else {
        bail!("the appliance answered something else")
    };
    let mut out = std::io::stdout().lock();
    if listing.json {
        let row = serde_json::json!({ "token": text, "expires": expires.to_string() });
        writeln!(out, "{row}")?;
    } else {
        writeln!(out, "{text}")?;
        let mut hints = std::io::stderr();
        if hints.is_terminal() {
            writeln!(hints, "on the machine, once and within 15 minutes: keepfast-agent join TOKEN")?;
        }
    }
    Ok(Done::Whole)
}
