//! Offers: which machines of a cloud meet a need, what they cost, and in which order they are taken.
//!
//! Pure. What a region has comes from a survey ([`RegionFacts`]); which families gabion makes machines of, with their
//! images, and what they cost by AWS's list is data of this crate ([`catalogue`]). The same need, facts and data give the
//! same offers in the same order: cheapest first, then fewer accelerators, processors and memory, then by name.

mod book;
pub mod catalogue;
mod choose;
mod facts;
mod need;
mod request;

pub use book::PriceBook;
pub use choose::{Miss, Offer, Offers, find, price_date};
pub use facts::{GpuFacts, HostedZone, Image, InstanceType, RegionFacts, Subnet, TypePrices, Vpc, image_key};
pub use gabion_engine::price::Price;
pub use need::{Market, OfferNeed};
pub use request::{OfferRequest, Words, regions};

pub(crate) use request::wish;
