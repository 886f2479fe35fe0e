//! The rules of the vault from outside, through `apply` and the codec alone.
//!
//! [`world`] is the stage: a state, its log, and a trail whose every line is checked. [`arbitrary`] makes nonsense.
//! The files are named as stories; the number says the kind (10 basic, 30 special cases, 90 mistakes that must not
//! come back).

mod arbitrary;
mod t10_codec;
mod t10_determinism;
mod t10_golden;
mod t10_model;
mod t30_rules;
mod t30_totality;
mod t90_mistakes;
mod world;
