<?php
// The jobs of an application, as PHP makes them. "make" reads one JSON document a line, in base64, and prints a line for each
// document and class that can hold it: the body and serialize() of the payload, both in base64. "hold" reads what became of
// them, {"json", "payload"} in base64, and prints "ok <count>" or a sentence for each fault.

declare(strict_types=1);

set_error_handler(static function (int $level, string $message): never {
    throw new ErrorException($message, 0, $level);
});

final class ModelIdentifier
{
    public string $class = 'App\Models\Step';
    public int $id = 4711;
    public array $relations = [];
    public ?string $connection = null;
}

final class PlainJob
{
    public int $accountId = 7;
    public int $apiSystemId = 1;
    public string $apiSystemCanonical = 'binance';
    public array $payload;

    public function __construct(array $payload)
    {
        $this->payload = $payload;
    }
}

class PromotedJob
{
    public $job;
    public $connection = 'redis';
    public $delay = 1.5;
    public $middleware = [];
    public $chained = [[], ['a' => true]];
    public ModelIdentifier $step;

    public function __construct(
        protected readonly array $payload,
        private int $accountId = 7,
        public readonly string $apiSystemCanonical = 'binance',
        protected int $apiSystemId = 1,
    ) {
        $this->step = new ModelIdentifier;
    }
}

function body(object $job, int $attempts): string
{
    return json_encode([
        'uuid' => 'b0e5a7a2-5a52-4b6f-9e0e-0d8f4f1f2a11', 'displayName' => $job::class,
        'job' => 'Illuminate\Queue\CallQueuedHandler@call', 'maxTries' => null, 'backoff' => null,
        'data' => ['commandName' => $job::class, 'command' => serialize($job)], 'attempts' => $attempts,
    ], JSON_THROW_ON_ERROR);
}

$count = 0;
$faults = 0;
while (($line = fgets(STDIN)) !== false) {
    if ($argv[1] === 'make') {
        $payload = json_decode(base64_decode($line, true), true);
        if (! is_array($payload)) {
            continue;
        }
        // Private and protected names have NUL in them, which JSON carries as an escape.
        foreach ([new PlainJob($payload), new PromotedJob($payload)] as $attempts => $job) {
            echo base64_encode(body($job, $attempts)), ' ', base64_encode(serialize($payload)), "\n";
        }
        continue;
    }
    [$json, $payload] = explode(' ', trim($line));
    $count++;
    if (serialize(json_decode(base64_decode($json, true), true)) !== base64_decode($payload, true) && $faults++ < 20) {
        echo 'another payload: ', base64_decode($json, true), "\n";
    }
}
if ($argv[1] === 'hold') {
    echo $faults === 0 ? "ok $count\n" : "$faults of $count are wrong\n";
}
