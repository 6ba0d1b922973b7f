//! `keepfast token create`.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use model::record::{Label, RestoreGrant};
use terminal::Done;
use wire::{Reply, Request, Token};

use crate::access::Access;
use crate::addresses::is_only_here;
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
    let token = Token::parse(&text)?;
    let mut hints = std::io::stderr();
    if token.addresses.iter().all(|address| is_only_here(address)) {
        let addresses = token.addresses.join(", ");
        writeln!(
            hints,
            "The token leads to {addresses}, which only this machine can reach. For other machines, start the appliance \
             with --listen 0.0.0.0:7443, or say --address HOST:PORT."
        )?;
    }
    let mut out = std::io::stdout().lock();
    if listing.json {
        let row = serde_json::json!({ "token": text, "expires": expires.to_string() });
        writeln!(out, "{row}")?;
    } else {
        writeln!(out, "{text}")?;
        if hints.is_terminal() {
            writeln!(hints, "on the machine, once and within 15 minutes: keepfast-agent join TOKEN")?;
        }
    }
    Ok(Done::Whole)
}
