//! What events do to orders, positions and workflows, a line a case: the cases that the incumbent's own tests pin
//! (facts/incumbent.md §12), its rules one by one (§4.4 to §5), algo orders (facts/binance.md §4.4), and events that nobody
//! expects. `order_scene.rs` says how a line is read, `order_worker.rs` what each is held to besides.
//!
//! name | seed | what happens | what differs afterwards | the rules that decided | policy, where it is not production's

pub const CASES: &str = r##"
# Quantities and prices.
a part leaves the placed quantity | long; market 81.9@- | market PARTIALLY_FILLED z=18.5 ap=0.29750 | market PARTIALLY_FILLED/NEW - | applied
a fill after a part | long; market 81.9@- | market PARTIALLY_FILLED z=18.5 ap=0.29750; market FILLED z=81.9 ap=0.29750 | market FILLED/NEW 0.2975 filled | applied applied
a late part changes no fill | long; tp 81.9@0.29750 | tp FILLED z=81.9 ap=0.29750; tp PARTIALLY_FILLED z=35.8 ap=0.29750 | tp FILLED/FILLED 0.2975 filled; long closing; CLOSE tp | applied rank_guard
a fill is worth its average | long; market 81.9@- | market FILLED ap=0.29760 p=0 | market FILLED/NEW 0.2976 filled | applied
a part keeps the stated price | long; tp | tp PARTIALLY_FILLED z=9.45 p=4.105 ap=4.10499999 | tp PARTIALLY_FILLED/NEW 4.105; SYNC tp | applied
a price changed by hand is corrected once | long; tp | tp NEW x=AMENDMENT p=4.100; again; redeliver | tp NEW/NEW 4.1; CORRECT tp | applied
a burst of a market order that comes late | long; market 1001816@- | market PARTIALLY_FILLED z=400000 ap=0.00011640; market FILLED ap=0.00011640; market NEW p=0 T=1795000000000; market PARTIALLY_FILLED z=400000 p=0 | market FILLED/NEW 0.0001164 filled | applied applied rank_guard rank_guard | all
a fill without prices keeps the price | long; market 1001816@- | market FILLED ap=0.00011640; market FILLED ap=0 p=0 | market FILLED/NEW 0.0001164 filled | applied applied
a rejected take-profit is replaced | long; tp | tp REJECTED | tp REJECTED/NEW 4.105; REPLACE tp REJECTED | applied | all
an end without average takes the stated price | long; tp | tp FILLED ap=0 p=4.2 | tp FILLED/FILLED 4.2 filled; long closing; CLOSE tp | applied
a cancel after a part is worth its average | long; tp | tp CANCELED z=1 ap=4.0 | tp CANCELLED/NEW 4; REPLACE tp CANCELLED | applied
a working order's price of zero is no information | long; limit | limit NEW x=AMENDMENT p=0 | | applied
zero gives no price to an order without one | long; limit 5@- ref=-@- | limit NEW x=AMENDMENT p=0 | | applied
a negative price is no information | long; tp | tp FILLED ap=-1 p=-1 | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
a price of 13 digits does not fit and is not written | long; tp | tp NEW x=AMENDMENT p=1234567890123 | | applied
a price of 9 decimals does not fit and is not written | long; tp | tp NEW x=AMENDMENT p=4.123456789 | | applied
a price that is no number is not written | long; tp | tp NEW x=AMENDMENT p=abc | | applied
one digit makes another price | long; tp | tp NEW x=AMENDMENT p=4.10499999 | tp NEW/NEW 4.10499999; CORRECT tp | applied
zeros make no other price | long; tp 20.990@4.1050 ref=20.99@4.105 | tp NEW x=AMENDMENT p=4.10500000 | | applied
eight decimals are kept | long; tp | tp NEW x=AMENDMENT p=0.00000001 | tp NEW/NEW 0.00000001; CORRECT tp | applied
twelve digits are kept | long; tp | tp NEW x=AMENDMENT p=999999999999.99999999 | tp NEW/NEW 999999999999.99999999; CORRECT tp | applied

# Ranks and times.
a placement's echo after a part | long; limit | limit PARTIALLY_FILLED z=5; limit NEW | limit PARTIALLY_FILLED/NEW 4.105; SYNC limit | applied rank_guard | all
a placement's echo after the end | long; limit | limit CANCELED; limit NEW | limit CANCELLED/NEW 4.105; REPLACE limit CANCELLED | applied rank_guard | all
a part after the end | long; limit | limit CANCELED z=5; limit PARTIALLY_FILLED z=5 | limit CANCELLED/NEW 4.105; REPLACE limit CANCELLED | applied rank_guard
what polling wrote ranks too | long; tp 20.99@4.105 FILLED/FILLED | tp PARTIALLY_FILLED z=9 | | rank_guard
a word of somebody else is an end | long; tp 20.99@4.105 ARCHIVED/NEW | tp PARTIALLY_FILLED z=9 | | rank_guard
an end after an end is applied | long; tp | tp FILLED; tp CANCELED | tp CANCELLED/FILLED 4.105 filled; long closing; CLOSE tp | applied applied
an older end after an end is not | long; tp | tp CANCELED T=20; tp EXPIRED T=10 | tp CANCELLED/NEW 4.105; REPLACE tp CANCELLED | applied older
at one instant a fill outweighs a cancel | long; tp | tp CANCELED T=10; tp FILLED T=10 | tp FILLED/FILLED 4.105 filled; long closing; REPLACE tp CANCELLED; CLOSE tp | applied applied
and the cancel comes too late | long; tp | tp FILLED T=10; tp CANCELED T=10 | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied older
the newer of two amendments stays | long; tp | tp NEW x=AMENDMENT p=4.2 T=20; tp NEW x=AMENDMENT p=4.3 T=10 | tp NEW/NEW 4.2; CORRECT tp | applied older
the newer of two parts stays | long; limit | limit PARTIALLY_FILLED z=10 T=20; limit PARTIALLY_FILLED z=5 T=10 | limit PARTIALLY_FILLED/NEW 4.105; SYNC limit | applied older
an event without times | long; tp | tp FILLED T=- | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
self-trade prevention is an expiry | long; tp | tp EXPIRED_IN_MATCH | tp EXPIRED/NEW 4.105; REPLACE tp EXPIRED | applied
an expiry in a trade's event | long; limit | limit EXPIRED_IN_MATCH x=TRADE | limit EXPIRED/NEW 4.105; REPLACE limit EXPIRED | applied
a status that nobody knows asks for a reconcile | long; tp | tp NEW_INSURANCE x=TRADE | reconcile | unknown_status

# Duplicates and redeliveries.
the same frame twice | long; tp | tp FILLED; again | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
the same job three times | long; tp | tp CANCELED; redeliver; redeliver | tp CANCELLED/NEW 4.105; REPLACE tp CANCELLED | applied
the same frame after the workflow has ended | long; tp | tp CANCELED; app intents end; again | tp CANCELLED/NEW 4.105; REPLACE tp CANCELLED | applied
shadow mode's audit row suppresses nothing | long; tp | tp FILLED; policy production; again | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied | shadow
nor does that of a flat position | long; limit | account SOLUSDT/BOTH=0; policy production; redeliver | CANCEL long | flat_position | shadow
nor that of a close by hand | long | #77 FILLED R=true ap=1.25; policy production; again | REPLACE long EXTERNAL_FILL at 1.25 | external_close | shadow
a list made empty stops at once | long; limit | limit PARTIALLY_FILLED z=5; policy shadow; limit FILLED | limit PARTIALLY_FILLED/NEW 4.105; SYNC limit | applied

# The allowlist.
shadow mode leaves everything | long; tp; sl; limit | tp FILLED; limit CANCELED; sl FINISHED aq=20.99 ai=78; account SOLUSDT/BOTH=0; #77 FILLED R=true | | | shadow
a placement's echo is kept out | long; tp | tp NEW p=4.2 | | not_on_allowlist
a rejection is kept out | long; tp | tp REJECTED | | not_on_allowlist
a liquidation is kept out | long; tp | tp FILLED x=CALCULATED | | not_on_allowlist
case counts | long; tp | tp FILLED | | not_on_allowlist | trade,Trade
a part of a word is none | long; tp | tp FILLED | | not_on_allowlist | TRAD,TRADES
one type alone | long; tp; limit | tp FILLED; limit CANCELED | limit CANCELLED/NEW 4.105; REPLACE limit CANCELLED | not_on_allowlist applied | CANCELED
an event without a type | long; tp | tp FILLED x=- | | not_on_allowlist | all
a finished stop goes by its alias | long; sl | sl FINISHED aq=20.99 | sl FILLED/FILLED 4.105 filled; long closing; BLOCK sl; CLOSE sl | applied | ALGO_FILLED
the alias needs an executed quantity | long; sl | sl FINISHED aq=0 | | not_on_allowlist | ALGO_FILLED
a finished stop goes by its own word | long; sl | sl FINISHED aq=20.99 | sl FILLED/FILLED 4.105 filled; long closing; BLOCK sl; CLOSE sl | applied | ALGO_FINISHED
an algo order's word admits no regular order | long; tp | tp CANCELED | | not_on_allowlist | ALGO_CANCELED
a regular order's word admits no algo order | long; sl | sl CANCELED | | not_on_allowlist | CANCELED
flat positions are not behind the list | long; limit | account SOLUSDT/BOTH=0 | CANCEL long | flat_position | AMENDMENT
closes by hand are not behind the list | long | #77 FILLED R=true ap=1.25 | REPLACE long EXTERNAL_FILL at 1.25 | external_close | AMENDMENT
a type put on the list | long; tp | tp REJECTED; policy REJECTED; tp REJECTED | tp REJECTED/NEW 4.105; REPLACE tp REJECTED | not_on_allowlist applied | TRADE

# Which order.
another account's order | long; other; long; tp | other.tp FILLED to=main | | unknown_order
two accounts with one id | long; tp x=555; other; long; tp x=555 | tp FILLED | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
both with their own event | long; tp x=556; other; long; tp x=556 | tp FILLED; other.tp CANCELED | tp FILLED/FILLED 4.105 filled; other.tp CANCELLED/NEW 4.105; long closing; CLOSE tp; REPLACE other.tp CANCELLED | applied applied
two venues with one id | long; tp x=557; other bybit; long; tp x=557 | tp FILLED | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
another venue's account with that id | long; other bybit; long; tp x=558 | #558 FILLED | | unknown_order
an order without exchange id goes by its client id | long; tp x=- | tp FILLED i=4242 | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
the exchange id goes before the client id | long; tp x=1001; limit c=race-b | tp FILLED c=race-b | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
the greatest id there is | long; tp x=18446744073709551615 | tp FILLED | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
ids that a float would mix up | long; tp x=9007199254740993; limit x=9007199254740992 | tp FILLED | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
an id as text | long; tp x=8389765591234567890 | tp FILLED i="8389765591234567890" | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
an order that nobody knows | long; tp | #77 CANCELED | | unknown_order

# Workflows, by rule (facts/incumbent.md §5).
1 a quantity changed by hand | long; tp 20.99@4.105 ref=21@4.105 | tp NEW x=AMENDMENT | CORRECT tp | applied
1 a part too, beside its own workflow | long; tp 20.99@4.105 ref=20.99@4.2 | tp PARTIALLY_FILLED z=1 | tp PARTIALLY_FILLED/NEW 4.105; CORRECT tp; SYNC tp | applied
1 a second change while the first is corrected | long; tp | tp NEW x=AMENDMENT p=4.2; tp NEW x=AMENDMENT p=4.3 | tp NEW/NEW 4.3; CORRECT tp | applied applied
1 a second change after that | long; tp | tp NEW x=AMENDMENT p=4.2; app intents end; tp NEW x=AMENDMENT p=4.3 | tp NEW/NEW 4.3; CORRECT tp; CORRECT tp | applied applied
1 two orders have a correction each | long; tp; limit | tp NEW x=AMENDMENT p=4.2; limit NEW x=AMENDMENT p=3.9 | tp NEW/NEW 4.2; limit NEW/NEW 3.9; CORRECT tp; CORRECT limit | applied applied
1 not without a reference | long; tp 20.99@4.105 ref=-@- | tp NEW x=AMENDMENT p=4.2 | tp NEW/NEW 4.2 | applied
1 not while the position opens | long opening; tp | tp NEW x=AMENDMENT p=4.2 | tp NEW/NEW 4.2 | applied
1 not while its average is computed | long waping; tp | tp NEW x=AMENDMENT p=4.2 | tp NEW/NEW 4.2 | applied
1 a moved stop is corrected | long; sl | sl NEW tp=4.0 | sl NEW/NEW 4; CORRECT sl | applied
2 a cancel of our own | long; tp 20.99@4.105 NEW/CANCELLED | tp CANCELED | tp CANCELLED/CANCELLED 4.105 | applied
2 a rung's cancel of our own | long; limit 20.99@4.105 NEW/CANCELLED | limit CANCELED | limit CANCELLED/CANCELLED 4.105 | applied
2 a stop's cancel of our own | long; sl 20.99@4.105 NEW/CANCELLED | sl CANCELED | sl CANCELLED/CANCELLED 4.105 | applied
2 a cancel that is ours by the time it comes | long; tp | tp PARTIALLY_FILLED z=1; app tp reference_status=CANCELLED; tp CANCELED z=1 | tp CANCELLED/CANCELLED 4.105; SYNC tp | applied applied
2 an expiry instead of our cancel | long; tp 20.99@4.105 NEW/CANCELLED | tp EXPIRED | tp EXPIRED/CANCELLED 4.105; REPLACE tp EXPIRED | applied
2 a fill instead of our cancel | long; tp 20.99@4.105 NEW/CANCELLED | tp FILLED | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
3 a take-profit at the market | long; tpm | tpm FILLED ap=4.2 | tpm FILLED/FILLED 4.2 filled; long closing; CLOSE tpm | applied
3 a stop blocks its symbol too | short; sl | sl FINISHED aq=20.99 | sl FILLED/FILLED 4.105 filled; short closing; BLOCK sl; CLOSE sl | applied
3 while the position opens | long opening; tp | tp FILLED | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
3 while it is new | long new; tp | tp FILLED | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
3 while its average is computed | long waping; tp | tp FILLED | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
3 while it is read anew | long syncing; tp | tp FILLED | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
3 not while it closes | long closing; tp | tp FILLED | tp FILLED/NEW 4.105 filled | applied
3 not of a closed position | long closed; tp | tp FILLED | tp FILLED/NEW 4.105 filled | applied
3 not while a close runs | long; tp; tpm | tp FILLED; app long status=active; tpm FILLED | tp FILLED/FILLED 4.105 filled; tpm FILLED/NEW 4.105 filled; CLOSE tp | applied applied
4 a cancelled take-profit | long; tp | tp CANCELED | tp CANCELLED/NEW 4.105; REPLACE tp CANCELLED | applied
4 an expired take-profit | long; tpm | tpm EXPIRED | tpm EXPIRED/NEW 4.105; REPLACE tpm EXPIRED | applied
4 a cancelled stop | long; sl | sl CANCELED | sl CANCELLED/NEW 4.105; REPLACE sl CANCELLED | applied
4 an expired stop | long; sl | sl EXPIRED | sl EXPIRED/NEW 4.105; REPLACE sl EXPIRED | applied
4 a rejected stop | long; sl | sl REJECTED | sl REJECTED/NEW 4.105; REPLACE sl REJECTED | applied | all
4 not of a position that is cancelled | long cancelling; tp | tp CANCELED | tp CANCELLED/NEW 4.105 | applied
4b further parts while a sync runs | long; tp | tp PARTIALLY_FILLED z=1; tp PARTIALLY_FILLED z=2; tp PARTIALLY_FILLED z=3 | tp PARTIALLY_FILLED/NEW 4.105; SYNC tp | applied applied applied
4b a further part after it | long; tp | tp PARTIALLY_FILLED z=1; app intents end; tp PARTIALLY_FILLED z=2 | tp PARTIALLY_FILLED/NEW 4.105; SYNC tp; SYNC tp | applied applied
5 a cancelled rung | long; limit | limit CANCELED | limit CANCELLED/NEW 4.105; REPLACE limit CANCELLED | applied
5 an expired rung | long; limit | limit EXPIRED | limit EXPIRED/NEW 4.105; REPLACE limit EXPIRED | applied
5 a rejected rung | long; limit | limit REJECTED | limit REJECTED/NEW 4.105; REPLACE limit REJECTED | applied | all
6 a filled rung | long; limit | limit FILLED ap=4.1 | limit FILLED/FILLED 4.1 filled; WAP limit | applied
6 not while the position opens | long opening; limit | limit FILLED | limit FILLED/NEW 4.105 filled | applied
6 not once the take-profit is filled | long; tp 20.99@4.105 FILLED/FILLED; limit | limit FILLED | limit FILLED/NEW 4.105 filled | applied
6 one at a time | long; limit; limit | limit FILLED; limit2 FILLED | limit FILLED/FILLED 4.105 filled; limit2 FILLED/NEW 4.105 filled; WAP limit | applied applied
7 a part of a rung | short; limit | limit PARTIALLY_FILLED z=3 | limit PARTIALLY_FILLED/NEW 4.105; SYNC limit | applied
7 then all of it | long; limit | limit PARTIALLY_FILLED z=3; limit FILLED | limit FILLED/FILLED 4.105 filled; SYNC limit; WAP limit | applied applied
an entry starts nothing | long; market | market CANCELED | market CANCELLED/NEW 4.105 | applied
a close at the market starts nothing | long; mcancel | mcancel FILLED ap=4.2 | mcancel FILLED/NEW 4.2 filled | applied

# Workflows at once.
four cancels are one replacement | long; tp; sl; limit; limit | limit CANCELED; limit2 CANCELED; tp CANCELED; sl CANCELED | tp CANCELLED/NEW 4.105; sl CANCELLED/NEW 4.105; limit CANCELLED/NEW 4.105; limit2 CANCELLED/NEW 4.105; REPLACE limit CANCELLED | applied applied applied applied
two positions have one each | hedge; long; tp; short; tp | tp CANCELED; tp2 CANCELED | tp CANCELLED/NEW 4.105; tp2 CANCELLED/NEW 4.105; REPLACE tp CANCELLED; REPLACE tp2 CANCELLED | applied applied
one that has ended gives way | long; tp; limit | tp CANCELED; app intents end; limit CANCELED | tp CANCELLED/NEW 4.105; limit CANCELLED/NEW 4.105; REPLACE tp CANCELLED; REPLACE limit CANCELLED | applied applied
one that nobody ended does after a while | long; tp; limit | tp CANCELED; app intents grow old; limit CANCELED | tp CANCELLED/NEW 4.105; limit CANCELLED/NEW 4.105; REPLACE tp CANCELLED; REPLACE limit CANCELLED | applied applied

# Kinds that are switched off.
corrections off | long; tp | tp NEW x=AMENDMENT p=4.2 | tp NEW/NEW 4.2 | applied | production off=order_correction
closes off, so nothing is acknowledged | long; tp | tp FILLED | tp FILLED/NEW 4.105 filled | applied | production off=close_position
replacements off | long; tp; limit | tp CANCELED; limit EXPIRED | tp CANCELLED/NEW 4.105; limit EXPIRED/NEW 4.105 | applied applied | production off=position_replacement
closes by hand are another kind | long; tp | tp CANCELED; #77 FILLED R=true ap=1.25 | tp CANCELLED/NEW 4.105; REPLACE long EXTERNAL_FILL at 1.25 | applied external_close | production off=position_replacement
syncs off | long; tp; limit | tp PARTIALLY_FILLED z=1; limit PARTIALLY_FILLED z=1 | tp PARTIALLY_FILLED/NEW 4.105; limit PARTIALLY_FILLED/NEW 4.105 | applied applied | production off=quantity_sync
averages off | long; limit | limit FILLED | limit FILLED/NEW 4.105 filled | applied | production off=apply_wap
cancels of opening orders off | long; limit | account SOLUSDT/BOTH=0 | | flat_position | production off=open_orders_cancel
closes by hand off | long | #77 FILLED R=true | | external_close | production off=external_close
blocks off | long; sl | sl FINISHED aq=20.99 | sl FILLED/FILLED 4.105 filled; long closing; CLOSE sl | applied | production off=symbol_block

# Algo orders.
a placed stop | long; sl | sl NEW | | applied
a stop that is being triggered | long; sl | sl TRIGGERING | sl TRIGGERING/NEW 4.105 | applied | all
a triggered stop closes | long; sl | sl TRIGGERING; sl TRIGGERED ai=78 | sl TRIGGERED/TRIGGERED 4.105; long closing; BLOCK sl; CLOSE sl | applied applied | all
triggered is not left backwards | long; sl | sl TRIGGERED ai=78; sl TRIGGERING; sl NEW tp=4.0 | sl TRIGGERED/TRIGGERED 4.105; long closing; BLOCK sl; CLOSE sl | applied rank_guard rank_guard | all
triggered, then filled | long; sl | sl TRIGGERED ai=78; sl FINISHED ai=78 aq=20.99 | sl FILLED/TRIGGERED 4.105 filled; long closing; BLOCK sl; CLOSE sl | applied applied | all
triggered, then expired | long; sl | sl TRIGGERED ai=78; sl EXPIRED ai=78 | sl EXPIRED/TRIGGERED 4.105; long closing; BLOCK sl; CLOSE sl | applied applied | all
triggered, then rejected | long; sl | sl TRIGGERED; sl REJECTED | sl REJECTED/TRIGGERED 4.105; long closing; BLOCK sl; CLOSE sl | applied applied | all
more than all executed is all | long; sl | sl FINISHED aq=21 | sl FILLED/FILLED 4.105 filled; long closing; BLOCK sl; CLOSE sl | applied
all in other digits is all | long; sl | sl FINISHED aq=20.9900 | sl FILLED/FILLED 4.105 filled; long closing; BLOCK sl; CLOSE sl | applied
nothing executed is a cancel | long; sl | sl FINISHED aq=0 | sl CANCELLED/NEW 4.105; REPLACE sl CANCELLED | applied | all
a part executed is a part | long; sl | sl FINISHED ai=78 aq=5 | sl PARTIALLY_FILLED/NEW 4.105; SYNC sl | applied
until the real order is cancelled | long; sl | sl FINISHED ai=78 aq=5; #78 CANCELED z=5 | sl CANCELLED/NEW 4.105; SYNC sl; REPLACE sl CANCELLED | applied applied
or filled | long; sl | sl FINISHED ai=78 aq=5; #78 FILLED R=true ap=4.0 | sl FILLED/FILLED 4.105 filled; long closing; SYNC sl; BLOCK sl; CLOSE sl | applied applied
the real order's end may come first | long; sl | sl TRIGGERED ai=78; #78 CANCELED z=5; sl FINISHED ai=78 aq=5 | sl CANCELLED/NEW 4.105; REPLACE sl CANCELLED | not_on_allowlist real_order applied
its fill too | long; sl | sl TRIGGERED ai=78; #78 FILLED R=true; sl FINISHED ai=78 aq=5 | sl FILLED/FILLED 4.105 filled; long closing; BLOCK sl; CLOSE sl | not_on_allowlist real_order applied
the real order's fill is no close by hand | long; sl | sl TRIGGERED ai=78; #78 FILLED R=true ap=4.0 | sl TRIGGERED/TRIGGERED 4.105; long closing; BLOCK sl; CLOSE sl | applied real_order | all
not even where the list keeps the link's event out | long; sl | sl TRIGGERED ai=78; #78 FILLED R=true ap=4.0 | | not_on_allowlist real_order
the real order's life leaves the algo order's | long; sl | sl TRIGGERED ai=78; #78 NEW; #78 PARTIALLY_FILLED z=1 | sl TRIGGERED/TRIGGERED 4.105; long closing; BLOCK sl; CLOSE sl | applied real_order real_order | all
a real order of another account is a stranger | long; sl; other; long | sl TRIGGERED ai=78; #78 FILLED R=true to=other | sl TRIGGERED/TRIGGERED 4.105; long closing; BLOCK sl; CLOSE sl; REPLACE other.long EXTERNAL_FILL at - | applied external_close | all
a real order of another symbol is one too | long; sl; long 1000PEPEUSDT | sl TRIGGERED ai=78; #78 FILLED s=1000PEPEUSDT R=true ap=2 | REPLACE long2 EXTERNAL_FILL at 2 | not_on_allowlist external_close
an algo order goes by its client id too | long; sl x=- | sl TRIGGERING aid=4242 | sl TRIGGERING/NEW 4.105 | applied | all

# Flat positions.
nothing left | long; limit | account SOLUSDT/BOTH=0 | CANCEL long | flat_position
nothing left, in eight decimals | long; limit | account SOLUSDT/BOTH=0.00000000 | CANCEL long | flat_position
minus nothing left | short; limit | account SOLUSDT/BOTH=-0.0 | CANCEL short | flat_position
something left | short; limit | account SOLUSDT/BOTH=-2.5 | |
a flat short leaves the long | hedge; long; limit | account SOLUSDT/SHORT=0 | |
the flat one of two | hedge; long; limit; short; limit | account SOLUSDT/LONG=0 | CANCEL long | flat_position
both of two | hedge; long; limit; short; limit | account SOLUSDT/SHORT=0 SOLUSDT/LONG=0 | CANCEL long; CANCEL short | flat_position
one of two, nobody says which | hedge; long; limit; short; limit | account SOLUSDT/BOTH=0 | |
no rung works | long; tp; sl | account SOLUSDT/BOTH=0 | | flat_position
every rung has ended | long; limit 5@4 FILLED/FILLED; limit 5@3 CANCELLED/CANCELLED | account SOLUSDT/BOTH=0 | | flat_position
a rung in parts works | long; limit 5@4 PARTIALLY_FILLED/NEW | account SOLUSDT/BOTH=0 | CANCEL long | flat_position
a rung that is not placed yet does not | long; limit x=- | account SOLUSDT/BOTH=0 | | flat_position
flat twice in one frame's words | long; limit | account SOLUSDT/BOTH=0; again | CANCEL long | flat_position
flat twice in two frames | long; limit | account SOLUSDT/BOTH=0; account SOLUSDT/BOTH=0 | CANCEL long | flat_position flat_position
flat again after the cancel | long; limit | account SOLUSDT/BOTH=0; app intents end; account SOLUSDT/BOTH=0 | CANCEL long; CANCEL long | flat_position flat_position
beside a replacement | long; tp; limit | tp CANCELED; account SOLUSDT/BOTH=0 | tp CANCELLED/NEW 4.105; REPLACE tp CANCELLED; CANCEL long | applied flat_position
while the position closes | long closing; limit | account SOLUSDT/BOTH=0 | CANCEL long | flat_position
not of a closed position | long closed; limit | account SOLUSDT/BOTH=0 | |
not of another symbol | long; limit | account ETHUSDT/BOTH=0 | |
not of another account | long; other; long; limit | account SOLUSDT/BOTH=0 | | flat_position
in small letters | long; limit | account solusdt/both=0 | CANCEL long | flat_position

# Closes by hand.
a sale closes a long | long | #77 FILLED S=SELL R=true ap=1.25 | REPLACE long EXTERNAL_FILL at 1.25 | external_close
a purchase closes a short | short | #77 FILLED S=BUY R=true ap=1.25 | REPLACE short EXTERNAL_FILL at 1.25 | external_close
the last price where there is no average | long | #77 FILLED R=true ap=0 L=1.26 | REPLACE long EXTERNAL_FILL at 1.26 | external_close
a hedge account says it by the side | hedge; long | #77 FILLED S=SELL ps=LONG ap=1.25 | REPLACE long EXTERNAL_FILL at 1.25 | external_close
hedge: a purchase opens | hedge; long | #77 FILLED S=BUY ps=LONG | | unknown_order
hedge: the other side | hedge; long | #77 FILLED S=SELL ps=SHORT | | unknown_order
hedge: no side | hedge; long | #77 FILLED S=SELL ps=BOTH | | unknown_order
one-way: a sale that only sells is no close | long | #77 FILLED S=SELL R=false | | unknown_order
one-way: closing all says nothing of a regular order | long | #77 FILLED S=SELL R=false cp=true | | unknown_order
one-way: a purchase on a long | long | #77 FILLED S=BUY R=true | | unknown_order
a liquidation | long | #77 FILLED x=CALCULATED R=true | | not_on_allowlist
a liquidation by its client id | long | #77 FILLED R=true c=autoclose-123 | | unknown_order
deleveraging | long | #77 FILLED R=true c=adl_autoclose | | unknown_order
a delisting | long | #77 FILLED R=true c=settlement_autoclose-9 | | unknown_order
a part is no close | long | #77 PARTIALLY_FILLED R=true z=5 | | unknown_order
an order known by its exchange id | long; tp x=77 | #77 FILLED R=true | | not_on_allowlist | AMENDMENT
an order known by its client id alone | long; tp x=- c=web-79 | #79 FILLED R=true | | not_on_allowlist | AMENDMENT
an algo order closes all | hedge; short | algo#77 FILLED S=BUY ps=SHORT cp=true | REPLACE short EXTERNAL_FILL at - | external_close
an algo order that has finished does | long | algo#77 FINISHED S=SELL aq=20.99 cp=true R=- | REPLACE long EXTERNAL_FILL at - | external_close
by hand while the position opens | long opening | #77 FILLED R=true ap=1 | REPLACE long EXTERNAL_FILL at 1 | external_close
by hand while it is new | long new | #77 FILLED R=true ap=1 | REPLACE long EXTERNAL_FILL at 1 | external_close
by hand while its average is computed | long waping | #77 FILLED R=true ap=1 | REPLACE long EXTERNAL_FILL at 1 | external_close
by hand while it is read anew | long syncing | #77 FILLED R=true ap=1 | REPLACE long EXTERNAL_FILL at 1 | external_close
by hand while it closes already | long closing | #77 FILLED R=true ap=1 | | unknown_order
a second fill by hand | long | #77 FILLED R=true ap=1.25; #78 FILLED R=true ap=1.26 | REPLACE long EXTERNAL_FILL at 1.25 | external_close external_close
while a replacement runs | long; tp | tp CANCELED; #77 FILLED R=true ap=1.25 | tp CANCELLED/NEW 4.105; REPLACE tp CANCELLED | applied external_close
two positions, nobody says which | hedge; long; short | #77 FILLED S=SELL ps=- R=true | | unknown_order
another account's position | long ETHUSDT; other; long | #77 FILLED R=true | | unknown_order
without a symbol | long | #77 FILLED R=true s=- | | unknown_order
without a side | long | #77 FILLED R=true S=- | | unknown_order

# What nobody expects.
a frame cut off | long; tp | raw {"e":"ORDER_TRADE_UPDATE","o":{ | |
a list, a number, a text | long | raw []; raw 7; raw "TRADE" | |
bytes that are no text | long | hex fffe00; hex 00 | |
an event that nobody knows | long; tp x=77 | raw {"e":"ORDER_TRADE_UPDATE_V2","o":{"i":77,"x":"TRADE","X":"FILLED"}} | |
a short copy of a fill | long; tp x=77 | raw {"e":"TRADE_LITE","E":1,"T":1,"s":"SOLUSDT","q":"20.99","i":77,"S":"SELL"} | |
the end of a listen key | long | raw {"e":"listenKeyExpired","E":1,"listenKey":"masked"} | |
a margin call | long; limit | raw {"e":"MARGIN_CALL","E":1,"p":[{"s":"SOLUSDT","ps":"BOTH","pa":"0"}]} | |
an order event without an order | long; tp | raw {"e":"ORDER_TRADE_UPDATE","E":1} | reconcile | unknown_order
an order of no fields | long; tp | raw {"e":"ORDER_TRADE_UPDATE","o":{}} | reconcile | unknown_order
an account update without positions | long; limit | raw {"e":"ACCOUNT_UPDATE","a":{"m":"DEPOSIT"}} | |
positions that are none | long; limit | raw {"e":"ACCOUNT_UPDATE","a":{"P":[7,{"s":"SOLUSDT","ps":"BOTH"},{"pa":"0","ps":"BOTH"}]}} | |
NUL in an id | long; tp | tp FILLED c=a\u0000b | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
NUL in a symbol | long; limit | account SOL\u0000USDT/BOTH=0 | |
an id that is too long | long; tp | tp FILLED c=0123456789012345678901234567890123456789012345678901234567890123456789 | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
a Chinese symbol's order | long 我踏马来了USDT; tp | tp FILLED | tp FILLED/FILLED 4.105 filled; long closing; CLOSE tp | applied
a Chinese symbol is flat | long 币安人生USDT; limit; long | account 币安人生USDT/BOTH=0 | CANCEL long | flat_position
a Chinese symbol closed by hand | long 币安人生USDT; long | #77 FILLED s=币安人生USDT R=true ap=1 | REPLACE long EXTERNAL_FILL at 1 | external_close
"##;
