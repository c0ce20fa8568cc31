<?php
// Reads one job a line, as JSON: {"raw", "body": base64; "v13", "horizon": bool; "account", "system": int, "canonical"}.
// Holds each body against PHP itself: its json_decode, its unserialize with the real adapter class, its serialize, its
// json_encode. Prints "ok <count>", or a sentence for each fault.

declare(strict_types=1);

set_error_handler(static function (int $level, string $message): never {
    throw new ErrorException($message, 0, $level);
});

eval('namespace Illuminate\Contracts\Queue; interface ShouldQueue {}');
require $argv[1];

const CLASS_NAME = 'App\Jobs\StoreUserDataEvent';
const FIELDS = ['uuid', 'displayName', 'job', 'maxTries', 'maxExceptions', 'failOnTimeout', 'backoff', 'timeout', 'retryUntil'];

function fault(array $job): ?string
{
    $raw = base64_decode($job['raw'], true);
    $text = base64_decode($job['body'], true);
    $body = json_decode($text, true);
    if (! is_array($body)) {
        return 'the body is no JSON object: '.json_last_error_msg();
    }
    $fields = array_merge(
        FIELDS,
        $job['v13'] ? ['deleteWhenMissingModels'] : [],
        ['data', 'createdAt', 'id', 'attempts', 'delay'],
        $job['horizon'] ? ['type', 'tags', 'silenced', 'pushedAt'] : [],
        ['kraite'],
    );
    if (array_keys($body) !== $fields || array_keys($body['data']) !== ['commandName', 'command', 'batchId']) {
        return 'other fields: '.implode(' ', array_keys($body));
    }
    $plain = [
        'displayName' => CLASS_NAME, 'job' => 'Illuminate\Queue\CallQueuedHandler@call', 'maxTries' => null, 'maxExceptions' => null,
        'failOnTimeout' => false, 'backoff' => null, 'timeout' => null, 'retryUntil' => null, 'attempts' => 0, 'delay' => null,
        'id' => $body['uuid'],
    ];
    foreach ($plain as $name => $value) {
        if ($body[$name] !== $value) {
            return "$name is ".var_export($body[$name], true);
        }
    }
    if (! preg_match('/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/', $body['uuid'])) {
        return 'no v4 uuid: '.$body['uuid'];
    }
    if (! is_int($body['createdAt']) || $job['horizon'] && (string) (float) $body['pushedAt'] !== $body['pushedAt']) {
        return 'times';
    }
    // The very bytes that PHP would have written.
    $flags = $job['horizon'] ? 0 : JSON_UNESCAPED_UNICODE;
    if (json_encode($body, $flags) !== $text) {
        return 'json_encode writes other bytes: '.json_encode($body, $flags);
    }
    $command = $body['data']['command'];
    $object = unserialize($command);
    if (! is_object($object) || $object::class !== CLASS_NAME || $body['data']['commandName'] !== CLASS_NAME) {
        return 'another class';
    }
    if (serialize($object) !== $command) {
        return 'serialize writes other bytes: '.serialize($object)."\n$command";
    }
    if ([$object->accountId, $object->apiSystemId, $object->apiSystemCanonical] !== [$job['account'], $job['system'], $job['canonical']]) {
        return 'other properties';
    }
    $decoded = json_decode($raw, true);
    $expected = is_array($decoded) ? $decoded : ['raw_base64' => base64_encode($raw)];
    if ($object->payload !== $expected || serialize($object->payload) !== serialize($expected)) {
        return 'another payload: '.serialize($object->payload).' instead of '.serialize($expected);
    }
    $kept = $body['kraite']['raw'] ?? base64_decode($body['kraite']['raw_base64'], true);
    if ($kept !== $raw) {
        return 'the recorded bytes are others';
    }
    return null;
}

$count = 0;
$faults = 0;
while (($line = fgets(STDIN)) !== false) {
    $job = json_decode($line, true, 8, JSON_THROW_ON_ERROR);
    try {
        $fault = fault($job);
    } catch (Throwable $thrown) {
        $fault = $thrown::class.': '.$thrown->getMessage();
    }
    $count++;
    if ($fault !== null && $faults++ < 20) {
        echo "job $count, raw ", json_encode(base64_decode($job['raw'], true), JSON_PARTIAL_OUTPUT_ON_ERROR), " (", $job['raw'], "): $fault\n";
    }
}
echo $faults === 0 ? "ok $count\n" : "$faults of $count are wrong\n";
