//! Where pages come from and go to.

use std::sync::Arc;

use model::{ErrorKind, Name};

/// Delivers pages by name. Caching is its business: the tree asks again for every descent.
pub trait PageSource {
    /// The failure of a read or write.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The bytes of a page, verified against its name.
    fn read(&self, name: &Name) -> Result<Arc<[u8]>, Self::Error>;

    /// What a caller can do about an error.
    fn kind(error: &Self::Error) -> ErrorKind;
}

/// Takes pages and names them by their content.
pub trait PageSink: PageSource {
    /// Stores a page; it can be read from then on. Equal bytes get equal names, and may come more than once.
    fn write(&mut self, bytes: Vec<u8>) -> Result<Name, Self::Error>;
}

impl<S: PageSource + ?Sized> PageSource for &S {
    type Error = S::Error;

    fn read(&self, name: &Name) -> Result<Arc<[u8]>, Self::Error> {
        (**self).read(name)
    }

    fn kind(error: &Self::Error) -> ErrorKind {
        S::kind(error)
    }
}

impl<S: PageSource + ?Sized> PageSource for Arc<S> {
    type Error = S::Error;

    fn read(&self, name: &Name) -> Result<Arc<[u8]>, Self::Error> {
        (**self).read(name)
    }

    fn kind(error: &Self::Error) -> ErrorKind {
        S::kind(error)
    }
}
