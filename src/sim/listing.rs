//! What the simulated venue lists: well-known names, invented ones to fill up, and every shape that has broken a client.
//!
//! Names and shapes are those of `facts/binance.md` §5: delivery contracts, USDC and BTC quotes, numeric prefixes, raw
//! UTF-8 symbols, COIN-M symbols in the same stream, and tokenised stocks ("TradFi") in a frame of their own. A seed
//! repeats the list.

use std::collections::HashSet;

use crate::domain::Random;

/// Units of a price: 10⁻⁸ of the quote, so that no float is ever involved.
pub const UNITS_PER_ONE: u64 = 100_000_000;

/// What kind of contract a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// `PERPETUAL`.
    Perpetual,
    /// `CURRENT_QUARTER`, delivered at this time (ms since 1970 UTC).
    CurrentQuarter(i64),
    /// `NEXT_QUARTER`.
    NextQuarter(i64),
    /// `TRADIFI_PERPETUAL`: in the second frame of a tick.
    TradFi,
    /// An inverse perpetual of COIN-M: `st` is 2.
    CoinMPerpetual,
    /// An inverse delivery contract of COIN-M: `st` is 2.
    CoinMDelivery,
}

impl Contract {
    /// Whether the contract is COIN-M: its price is in the stream, and is not for this system.
    #[must_use]
    pub const fn is_coin_m(self) -> bool {
        matches!(self, Contract::CoinMPerpetual | Contract::CoinMDelivery)
    }

    /// Delivery contracts have no funding: their `r` is zero and their `T` is 0.
    #[must_use]
    pub const fn has_funding(self) -> bool {
        matches!(self, Contract::Perpetual | Contract::TradFi | Contract::CoinMPerpetual)
    }
}

/// One symbol of the venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The venue's name: `BTCUSDT_261225`.
    pub symbol: String,
    /// Base asset: `1000PEPE`.
    pub base: String,
    /// Quote asset: `USDT`.
    pub quote: String,
    /// Kind of contract.
    pub contract: Contract,
    /// Being delisted: it ticks with a frozen price.
    pub settling: bool,
    /// Price at the start, in units.
    pub start: u64,
}

/// How many symbols of each part to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// USDⓈ-M of the first frame.
    pub ordinary: usize,
    /// COIN-M, also in the first frame.
    pub coin_m: usize,
    /// Tokenised stocks, metals and the like, in the second frame.
    pub tradfi: usize,
}

impl Default for Counts {
    /// About what the venue sends at the end of 2026.
    fn default() -> Self {
        Counts { ordinary: 720, coin_m: 30, tradfi: 200 }
    }
}

/// The list in wire order: `counts.ordinary + counts.coin_m` symbols of the first frame shuffled with BTCUSDT in front,
/// then `counts.tradfi` symbols of the second. Counts below the built-in names cut those; larger ones are filled up.
#[must_use]
pub fn build(counts: Counts, random: &mut Random) -> Vec<Listed> {
    let mut taken = HashSet::new();
    let mut ordinary = Vec::with_capacity(counts.ordinary + counts.coin_m);
    for (base, start) in PRICED {
        push(&mut ordinary, &mut taken, base, "USDT", Contract::Perpetual, *start);
    }
    for (pair, suffix, contract) in DELIVERIES {
        let base = &pair[..3];
        let start = near(start_of(base), random);
        let symbol = format!("{pair}_{suffix}");
        taken.insert(symbol.clone());
        ordinary.push(listed(symbol, base, "USDT", *contract, start));
    }
    push(&mut ordinary, &mut taken, "ETH", "BTC", Contract::Perpetual, 3_286_086);
    for base in USDC {
        let known = PRICED.iter().find(|(name, _)| name == base).map(|(_, start)| *start);
        let start = known.unwrap_or_else(|| invented_price(random));
        push(&mut ordinary, &mut taken, base, "USDC", Contract::Perpetual, near(start, random));
    }
    for base in WELL_KNOWN.split_ascii_whitespace() {
        let start = invented_price(random);
        push(&mut ordinary, &mut taken, base, "USDT", Contract::Perpetual, start);
    }
    for base in ["QASETTLEA", "QASETTLEB"] {
        push(&mut ordinary, &mut taken, base, "USDT", Contract::Perpetual, invented_price(random));
        if let Some(last) = ordinary.last_mut() {
            last.settling = true;
        }
    }
    ordinary.truncate(counts.ordinary);
    while ordinary.len() < counts.ordinary {
        let base = invented_name(random);
        push(&mut ordinary, &mut taken, &base, "USDT", Contract::Perpetual, invented_price(random));
    }
    extend_coin_m(&mut ordinary, &mut taken, counts.coin_m, random);
    for last in (2..ordinary.len()).rev() {
        let other = 1 + random.below(last as u64) as usize;
        ordinary.swap(last, other);
    }

    let mut tradfi = Vec::with_capacity(counts.tradfi);
    for base in TRADFI.split_ascii_whitespace().take(counts.tradfi) {
        push(&mut tradfi, &mut taken, base, "USDT", Contract::TradFi, stock_price(random));
    }
    while tradfi.len() < counts.tradfi {
        let base: String = (0..2 + random.below(3)).map(|_| char::from(b'A' + random.below(26) as u8)).collect();
        push(&mut tradfi, &mut taken, &base, "USDT", Contract::TradFi, stock_price(random));
    }
    ordinary.append(&mut tradfi);
    ordinary
}

fn extend_coin_m(out: &mut Vec<Listed>, taken: &mut HashSet<String>, count: usize, random: &mut Random) {
    let dated = COIN_M_DATED.iter().map(|&(base, suffix)| (base, suffix, Contract::CoinMDelivery));
    let perpetual = COIN_M.split_ascii_whitespace().map(|base| (base, "PERP", Contract::CoinMPerpetual));
    let end = out.len() + count;
    let mut list = |base: &str, suffix: &str, contract: Contract, random: &mut Random, out: &mut Vec<Listed>| {
        let symbol = format!("{base}USD_{suffix}");
        if taken.insert(symbol.clone()) {
            let start = near(start_of(base), random);
            out.push(listed(symbol, base, "USD", contract, start));
        }
    };
    for (base, suffix, contract) in dated.chain(perpetual).take(count) {
        list(base, suffix, contract, random, out);
    }
    while out.len() < end {
        list(&invented_name(random), "PERP", Contract::CoinMPerpetual, random, out);
    }
}

fn push(out: &mut Vec<Listed>, taken: &mut HashSet<String>, base: &str, quote: &str, contract: Contract, start: u64) {
    let symbol = format!("{base}{quote}");
    if taken.insert(symbol.clone()) {
        out.push(listed(symbol, base, quote, contract, start));
    }
}

fn listed(symbol: String, base: &str, quote: &str, contract: Contract, start: u64) -> Listed {
    Listed { symbol, base: base.to_owned(), quote: quote.to_owned(), contract, settling: false, start }
}

fn start_of(base: &str) -> u64 {
    PRICED.iter().find(|(name, _)| *name == base).map_or(5 * UNITS_PER_ONE, |(_, start)| *start)
}

/// Within half a percent.
fn near(start: u64, random: &mut Random) -> u64 {
    (start - start / 200 + random.below(start / 100 + 1)).max(1)
}

/// From 0.00001 to a thousand, every order of magnitude equally likely.
fn invented_price(random: &mut Random) -> u64 {
    let scale = 10u64.pow(3 + random.below(8) as u32);
    scale + random.below(9 * scale)
}

fn stock_price(random: &mut Random) -> u64 {
    2 * UNITS_PER_ONE + random.below(500 * UNITS_PER_ONE)
}

/// Two to five syllables that no ticker has.
fn invented_name(random: &mut Random) -> String {
    const CONSONANTS: &[u8] = b"BCDFGHKLMNPRSTVWXZ";
    const VOWELS: &[u8] = b"AEIOU";
    let mut name = String::with_capacity(11);
    for _ in 0..2 + random.below(4) {
        name.push(char::from(CONSONANTS[random.below(CONSONANTS.len() as u64) as usize]));
        name.push(char::from(VOWELS[random.below(VOWELS.len() as u64) as usize]));
    }
    name.push(char::from(CONSONANTS[random.below(CONSONANTS.len() as u64) as usize]));
    name
}

/// Symbols whose price matters to the eye or to a shift: base, start in units.
const PRICED: &[(&str, u64)] = &[
    ("BTC", 8_653_710_501_823),
    ("ETH", 284_290_955_070),
    ("BNB", 84_512_330_000),
    ("SOL", 13_235_225_545),
    ("XRP", 203_110_492),
    ("DOGE", 14_820_311),
    ("ADA", 41_230_991),
    ("BTCDOM", 451_230_500_000),
    ("PAXG", 408_123_400_000),
    ("YFI", 421_000_000_000),
    ("AURIGA", 123_456_789_012_345),
    ("1000PEPE", 441_209),
    ("1000SHIB", 851_234),
    ("1000SATS", 1_811),
    ("1000RATS", 2_210),
    ("1000BONK", 912_345),
    ("1000FLOKI", 4_512_340),
    ("1000LUNC", 3_412_000),
    ("1000XEC", 1_201_234),
    ("1000CAT", 312_345),
    ("1000CHEEMS", 101_234),
    ("1000WHY", 2_345),
    ("1000X", 1_912_345),
    ("1000000MOG", 31_234_567),
    ("1000000BOB", 2_123_456),
    ("1MBABYDOGE", 78_123),
    ("TURBO", 212_345),
    ("DUSTA", 123),
    ("DUSTB", 917),
    ("DUSTC", 45),
    ("LUNA2", 9_123_456),
    ("RAYSOL", 112_345_678),
    ("RONIN", 31_234_567),
    ("BEAMX", 412_345),
    ("LAYER", 21_234_567),
    ("TST", 1_623_456),
    ("RED", 31_234_123),
    ("ACT", 2_345_678),
    ("1INCH", 18_123_456),
    ("0G", 112_345_600),
    ("4", 8_123_456),
    ("币安人生", 8_713_117),
    ("我踏马来了", 1_934_558),
    ("龙虾", 412_345),
    ("牛来", 98_765),
    ("哈基米", 2_123_456),
];

const DELIVERIES: &[(&str, &str, Contract)] = &[
    ("BTCUSDT", "261225", Contract::CurrentQuarter(1_798_185_600_000)),
    ("ETHUSDT", "261225", Contract::CurrentQuarter(1_798_185_600_000)),
    ("BTCUSDT", "270326", Contract::NextQuarter(1_806_048_000_000)),
    ("ETHUSDT", "270326", Contract::NextQuarter(1_806_048_000_000)),
];

const USDC: &[&str] = &[
    "BTC", "ETH", "BNB", "SOL", "XRP", "DOGE", "ADA", "1000PEPE", "1000SHIB", "1000BONK", "LINK", "LTC", "AVAX", "SUI",
    "NEAR", "AAVE", "UNI", "ARB", "ORDI", "WLD", "BCH", "FIL", "CRV", "ENA", "ETHFI", "TIA", "HBAR", "HYPE", "IP",
    "KAITO", "PENGU", "PNUT", "PUMP", "TRUMP", "VIRTUAL", "WLFI", "ZEC", "ASTER",
];

const COIN_M_DATED: &[(&str, &str)] = &[("BTC", "261225"), ("BTC", "270326"), ("ETH", "261225"), ("ETH", "270326")];

const COIN_M: &str = "BTC ETH BNB SOL XRP DOGE ADA LTC LINK BCH DOT TRX ETC FIL XLM ATOM UNI AVAX NEAR OP APT SUI WLD AAVE \
    ALGO ICP";

const WELL_KNOWN: &str = "LTC LINK BCH DOT TRX ETC FIL XLM ATOM UNI AVAX NEAR OP APT SUI WLD AAVE ARB INJ TIA SEI ALGO ICP \
    HBAR VET GRT SAND MANA AXS EGLD THETA FTM EOS XTZ NEO IOTA KAVA ZEC DASH COMP MKR SNX CRV SUSHI LDO ENS IMX APE GMT \
    GALA CHZ ENJ ROSE ONE ZIL QTUM ONT ICX RVN SKL ANKR CELO KSM BAT ZRX STORJ OMG CTSI DYDX PEOPLE JASMY MASK WOO FLOW \
    GMX RNDR STX MAGIC HOOK HIGH MINA CFX BLUR ID EDU SUIA RDNT ARKM PENDLE CYBER HIFI MAV XVS WAXP ORDI MEME JTO PYTH \
    ACE NFP AI XAI MANTA ALT JUP ZETA RONINA DYM PIXEL STRK PORTAL AEVO ETHFI ENA W TNSR SAGA TAO OMNI REZ BB NOT IO ZK \
    LISTA ZRO BANANA RENDER G SYN DOGS POL CATI HMSTR EIGEN SCR GOAT MOODENG GRASS DRIFT SWELL CETUS PNUT HIPPO CHILLGUY \
    VIRTUAL ME MOVE PENGU KAITO IP BERA TRUMP MELANIA ANIME VINE PIPPIN ARC SONIC D AVAAI GRIFFAIN ZEREBRO FARTCOIN AIXBT \
    BIO USUAL VANA PHA SOLV S HYPE LA SOPH A RESOLV HOME SAHARA NEWT PUMP SPK C TREE ERA TOWNS PROVE WLFI AVNT ASTER \
    LINEA HOLO SOMI BARD MIRA EDEN FF ENSO YB RECALL ZBT CC ALLO MON BREV ZAMA FOGO SENT LAB XMR CAKE RUNE AR TON KAS \
    BSV TWT NIL BABY LQTY PARTI WCT INIT SIGN HAEDAL SXT";

const TRADFI: &str = "XAU XAG XPT XPD COPPER NATGAS CL BZ USO TSLA NVDA AAPL MSFT AMZN GOOGL META NFLX AMD INTC AVGO MU ORCL \
    PLTR COIN MSTR HOOD CRCL BABA PDD TSM ASML SPY QQQ IWM EWY EWJ SOXL GLD SLV BRKB JPM V MA WMT KO PEP NKE DIS BA GE F \
    GM UBER ABNB SHOP SNOW CRM ADBE NOW PANW QCOM TXN MRVL ARM SMCI DELL HPE IBM CSCO T VZ";

#[cfg(test)]
mod tests {
    use super::*;

    fn build_default(seed: u64) -> Vec<Listed> {
        build(Counts::default(), &mut Random::from_seed(seed))
    }

    #[test]
    fn a_seed_repeats_and_counts_hold() {
        let all = build_default(3);
        assert_eq!(all, build_default(3));
        assert_ne!(all, build_default(4));
        assert_eq!(all.len(), 950);
        assert_eq!(all.iter().filter(|l| l.contract.is_coin_m()).count(), 30);
        assert!(all[..750].iter().all(|l| l.contract != Contract::TradFi));
        assert!(all[750..].iter().all(|l| l.contract == Contract::TradFi));
        assert_eq!(all.iter().filter(|l| l.settling).count(), 2);
        let distinct: HashSet<&str> = all.iter().map(|l| l.symbol.as_str()).collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(all[0].symbol, "BTCUSDT");
        assert!(all.iter().all(|l| l.start > 0 && l.symbol.len() <= crate::domain::limits::SYMBOL_LEN_MAX));
    }

    #[test]
    fn every_shape_that_broke_a_client_is_listed() {
        let all = build_default(3);
        for symbol in [
            "BTCUSDT",
            "ETHUSDT",
            "BTCUSDT_261225",
            "ETHUSDT_270326",
            "BTCUSDC",
            "ETHBTC",
            "1000PEPEUSDT",
            "1000000MOGUSDT",
            "1MBABYDOGEUSDT",
            "1000SATSUSDT",
            "1000FLOKIUSDT",
            "1000SHIBUSDT",
            "币安人生USDT",
            "我踏马来了USDT",
            "BTCUSD_PERP",
            "BTCUSD_261225",
            "XAUUSDT",
            "TSLAUSDT",
            "1INCHUSDT",
            "4USDT",
        ] {
            assert!(all.iter().any(|l| l.symbol == symbol), "{symbol}");
        }
    }

    #[test]
    fn small_and_large_counts_are_exact() {
        for (ordinary, coin_m, tradfi) in [(1, 0, 0), (5, 2, 3), (3_000, 60, 500)] {
            let counts = Counts { ordinary, coin_m, tradfi };
            assert_eq!(build(counts, &mut Random::from_seed(1)).len(), ordinary + coin_m + tradfi);
        }
    }
}
