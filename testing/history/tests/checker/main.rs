//! The checker itself: what an honest server could have answered is accepted, whatever overlaps and
//! whatever is unknown; what a broken one answered is not.
//!
//! Layout: [`oracle`] (an honest server, and a broken one), [`random`] (random histories of either),
//! [`contradictions`] (one small history for each thing that cannot be).

mod contradictions;
mod oracle;
mod random;
