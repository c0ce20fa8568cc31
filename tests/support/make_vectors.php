<?php
// Prints tests/fixtures/php/bodies.txt: whole bodies as PHP itself makes them, for tests/php_vectors.rs.
//     php -n tests/support/make_vectors.php > tests/fixtures/php/bodies.txt

declare(strict_types=1);

namespace Illuminate\Contracts\Queue;

interface ShouldQueue {}

require __DIR__.'/../../src/queue/laravel_adapter.php';

function job(string $raw): \App\Jobs\StoreUserDataEvent
{
    $job = new \App\Jobs\StoreUserDataEvent;
    $job->accountId = 7;
    $job->apiSystemId = 1;
    $job->apiSystemCanonical = 'binance';
    $decoded = json_decode($raw, true);
    $job->payload = is_array($decoded) ? $decoded : ['raw_base64' => base64_encode($raw)];
    return $job;
}

function body(string $raw, bool $v13, bool $horizon, ?int $previous, ?int $replay): string
{
    $epoch = hex2bin('000102030405060708090a0b0c0d0e0f');
    $position = 1152921504606846977;
    $hash = hash('sha256', "kraite-streams job 1\n".$epoch.pack('J', $position).($replay === null ? '' : 'replay'.pack('J', $replay)), true);
    $hash[6] = chr(ord($hash[6]) & 0x0F | 0x40);
    $hash[8] = chr(ord($hash[8]) & 0x3F | 0x80);
    $uuid = vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split(bin2hex(substr($hash, 0, 16)), 4));
    $class = \App\Jobs\StoreUserDataEvent::class;
    $fields = [
        'uuid' => $uuid, 'displayName' => $class, 'job' => 'Illuminate\Queue\CallQueuedHandler@call', 'maxTries' => null,
        'maxExceptions' => null, 'failOnTimeout' => false, 'backoff' => null, 'timeout' => null, 'retryUntil' => null,
    ];
    if ($v13) {
        $fields['deleteWhenMissingModels'] = false;
    }
    $fields += [
        'data' => ['commandName' => $class, 'command' => serialize(job($raw)), 'batchId' => null],
        'createdAt' => 1795420185, 'id' => $uuid, 'attempts' => 0, 'delay' => null,
    ];
    if ($horizon) {
        $fields += ['type' => 'job', 'tags' => [], 'silenced' => false, 'pushedAt' => (string) 1795420185.8001];
    }
    $fields['kraite'] = [
        'v' => 1, 'kind' => 'frame', 'account' => '7', 'exchange' => 1, 'epoch' => bin2hex($epoch), 'position' => (string) $position,
        'previous' => $previous === null ? null : (string) $previous, 'received_at_us' => '1795420185800150',
    ];
    $fields['kraite'] += mb($raw) ? ['raw' => $raw] : ['raw_base64' => base64_encode($raw)];
    return json_encode($fields, $horizon ? 0 : JSON_UNESCAPED_UNICODE);
}

function mb(string $raw): bool
{
    return preg_match('//u', $raw) === 1;
}

$raws = [
    file_get_contents(__DIR__.'/../fixtures/order_trade_update_new.json'),
    '{"e":"x","1":[{"a":1.0},-0,-0.0,1e3,9223372036854775808,{}],"s":"币/é😀'."\u{2028}".'\n","e":"y"}',
    'not JSON',
    "\xff\0",
];
foreach ($raws as $raw) {
    foreach ([[false, false], [false, true], [true, false], [true, true]] as [$v13, $horizon]) {
        $previous = $v13 ? 11 : null;
        $replay = $horizon ? 3 : null;
        echo bin2hex($raw), ' ', (int) $v13, (int) $horizon, ' ', body($raw, $v13, $horizon, $previous, $replay), "\n";
    }
}
