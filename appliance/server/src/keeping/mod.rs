//! What is kept and what goes: policies in the settings of the pool, plans over it, and the keeper who carries them out.

mod admitting;
mod figures;
mod foretelling;
mod keeper;
mod orders;
mod picture;
mod refusals;
mod settings;

pub(crate) use admitting::Trial;
pub(crate) use figures::Figures;
pub(crate) use keeper::Keeper;
pub(crate) use orders::answer;
pub(crate) use refusals::Refusals;
