//! The crate from outside: images of every shape go in, what comes out is looked at with other tools' eyes (the
//! `tar` crate, plain JSON).

#[cfg(test)]
mod build;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod deliver;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod index;
mod limits;
#[cfg(test)]
mod mutate;
#[cfg(test)]
mod read;
