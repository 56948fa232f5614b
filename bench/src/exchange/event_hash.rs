//! A hash over all events, cheap enough to be part of every run: by it runs are told to have come to the same.

use engine::{
    event::{Event, EventSink},
    types::wire::Writer,
};

/// Odd numbers without a pattern, one for each field.
const FACTORS: [u64; 8] = [
    0x9e37_79b9_7f4a_7c15,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0xff51_afd7_ed55_8ccd,
    0xd6e8_feb8_6659_fd93,
    0xa076_1d64_78bd_642f,
    0xe703_7ed1_a0b4_28db,
    0x8ebc_6af0_9c88_c6e3,
];

/// Hashes events in order and keeps none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventHash {
    /// How many there were.
    pub events: u64,
    /// How many of them were refusals.
    pub refusals: u64,
    hash: u64,
}

impl EventHash {
    /// The fields of one event: each is multiplied for itself, only the last product waits for the event before.
    #[inline]
    fn add<const N: usize>(&mut self, fields: [u64; N]) {
        let mut mixed = 0;
        for (field, factor) in fields.into_iter().zip(FACTORS) {
            mixed ^= field.wrapping_mul(factor);
        }
        self.hash = (self.hash.rotate_left(23) ^ mixed).wrapping_mul(0x2545_f491_4f6c_dd1d);
    }

    #[cold]
    fn add_encoded(&mut self, event: &Event) {
        let mut writer = Writer::default();
        event.encode(&mut writer);
        for bytes in writer.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            self.add([u64::from_le_bytes(word), bytes.len() as u64]);
        }
    }
}

impl EventSink for EventHash {
    #[inline]
    fn emit(&mut self, event: Event) {
        self.events += 1;
        match event {
            Event::OrderAccepted { order, account, market, side, price, quantity, held, client_order_id } => {
                let place = (u64::from(account.0) << 32) | (u64::from(market.0) << 8) | side as u64;
                self.add([1, order.0, place, price.0, quantity.0, held.0, client_order_id.0]);
            }
            Event::OrderCancelled { order, account, market, reason, quantity, released } => {
                let place = (u64::from(account.0) << 32) | (u64::from(market.0) << 8) | reason as u64;
                self.add([2, order.0, place, quantity.0, released.0]);
            }
            Event::OrderReduced { order, account, market, quantity, released } => {
                let place = (u64::from(account.0) << 32) | u64::from(market.0);
                self.add([3, order.0, place, quantity.0, released.0]);
            }
            Event::Refused { .. } => {
                self.refusals += 1;
                self.add_encoded(&event);
            }
            Event::Filled {
                taker,
                maker,
                taker_account,
                maker_account,
                market,
                taker_side,
                price,
                quantity,
                maker_remaining,
                taker_fee,
                maker_fee,
                released,
            } => {
                let accounts = (u64::from(taker_account.0) << 32) | u64::from(maker_account.0);
                let place = (u64::from(market.0) << 8) | taker_side as u64;
                self.add([4, taker.0, maker.0, accounts, place, price.0, quantity.0, maker_remaining.0]);
                self.add([taker_fee as u64, maker_fee as u64, released.0]);
            }
            _ => self.add_encoded(&event),
        }
    }
}
