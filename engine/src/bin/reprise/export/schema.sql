-- Amounts are whole minor units of their asset (assets.unit of them make one), prices ticks, quantities lots,
-- times nanoseconds since 1970.
CREATE TABLE accounts (account INTEGER PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, suspended INTEGER NOT NULL);
CREATE TABLE assets (asset INTEGER PRIMARY KEY, symbol TEXT NOT NULL, scale INTEGER NOT NULL, unit INTEGER NOT NULL);
CREATE TABLE markets (
    market INTEGER PRIMARY KEY, name TEXT NOT NULL, base INTEGER NOT NULL, quote INTEGER NOT NULL,
    lot_size INTEGER NOT NULL, tick_value INTEGER NOT NULL, maker_rate INTEGER NOT NULL, taker_rate INTEGER NOT NULL,
    status TEXT NOT NULL);
CREATE TABLE opening_balances (
    account INTEGER NOT NULL, asset INTEGER NOT NULL, available INTEGER NOT NULL, held INTEGER NOT NULL,
    system INTEGER NOT NULL, PRIMARY KEY (account, asset)) WITHOUT ROWID;
CREATE TABLE balances (
    account INTEGER NOT NULL, asset INTEGER NOT NULL, available INTEGER NOT NULL, held INTEGER NOT NULL,
    system INTEGER NOT NULL, PRIMARY KEY (account, asset)) WITHOUT ROWID;
CREATE TABLE ledger_entries (
    sequence INTEGER NOT NULL, event INTEGER NOT NULL, account INTEGER NOT NULL, asset INTEGER NOT NULL,
    bucket TEXT NOT NULL, delta INTEGER NOT NULL);
CREATE TABLE orders (
    order_id INTEGER PRIMARY KEY, account INTEGER NOT NULL, market INTEGER NOT NULL, side TEXT NOT NULL, type TEXT,
    price INTEGER NOT NULL, quantity INTEGER, open INTEGER NOT NULL, filled INTEGER NOT NULL, notional INTEGER NOT NULL,
    fees INTEGER NOT NULL, fills INTEGER NOT NULL, client_order_id, placed_ns INTEGER, status TEXT NOT NULL,
    ended_sequence INTEGER, end_reason TEXT);
CREATE TABLE fills (
    sequence INTEGER NOT NULL, event INTEGER NOT NULL, market INTEGER NOT NULL, taker_order INTEGER NOT NULL,
    maker_order INTEGER NOT NULL, taker_account INTEGER NOT NULL, maker_account INTEGER NOT NULL,
    taker_side TEXT NOT NULL, price INTEGER NOT NULL, quantity INTEGER NOT NULL, base_amount INTEGER NOT NULL,
    notional INTEGER NOT NULL, taker_fee INTEGER NOT NULL, maker_fee INTEGER NOT NULL,
    void_since_epoch INTEGER);
CREATE TABLE commands (
    sequence INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, cause TEXT NOT NULL, kind TEXT NOT NULL, account INTEGER,
    refused TEXT, text TEXT NOT NULL);
CREATE TABLE withdrawals (
    withdrawal INTEGER PRIMARY KEY, account INTEGER NOT NULL, asset INTEGER NOT NULL, amount INTEGER NOT NULL,
    state TEXT NOT NULL, external_id TEXT, shortfall INTEGER NOT NULL);
CREATE TABLE airdrops (
    airdrop INTEGER PRIMARY KEY, author INTEGER NOT NULL, approver INTEGER, asset INTEGER NOT NULL,
    total INTEGER NOT NULL, lines INTEGER NOT NULL, state TEXT NOT NULL, source TEXT, opened INTEGER NOT NULL,
    executed INTEGER);
CREATE TABLE receivables (
    account INTEGER NOT NULL, asset INTEGER NOT NULL, owed INTEGER NOT NULL, PRIMARY KEY (account, asset)) WITHOUT ROWID;
