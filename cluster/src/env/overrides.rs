//! Dial some addresses elsewhere: how chaos tests put a proxy between two peers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::env::{BoxFuture, BoxStream, Listener, Net};

/// A [`Net`] that replaces listed addresses when it dials. Listening is untouched.
pub struct DialOverrides {
    /// Where everything else goes.
    pub inner: Arc<dyn Net>,
    /// Address as the cluster knows it → address to dial instead.
    pub map: BTreeMap<String, String>,
}

impl Net for DialOverrides {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        let target = self.map.get(address).map_or(address, String::as_str);
        self.inner.dial(target)
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        self.inner.bind(address)
    }
}
