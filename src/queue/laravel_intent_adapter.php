<?php

declare(strict_types=1);

// The job that kraite-streams pushes for each row of workflow_intents, printed by `kraite-streams print laravel-adapter --intents`.
// Put it where its namespace says (here app/Jobs/TakeWorkflowIntent.php) and name it in the settings:
//
//     [work]
//     intent_target = "redis"
//     intent_class = 'App\Jobs\TakeWorkflowIntent'
//
// What must stay as it is: the six properties with their names and types. The daemon writes them in PHP's own serialize()
// format; no constructor runs. Everything in handle() is yours.

namespace App\Jobs;

use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Support\Facades\DB;

final class TakeWorkflowIntent implements ShouldQueue
{
    /** workflow_intents.id: take each one once */
    public int $intentId;

    /** The workflow, such as "ClosePositionJob" */
    public string $workflow;

    /** accounts.id */
    public int $accountId;

    /** positions.id */
    public int $positionId;

    /** orders.id, where one order is the cause */
    public ?int $orderId;

    /** @var array<array-key, mixed> */
    public array $arguments;

    /**
     * The same intent may arrive twice: after a crash it is pushed again. The row tells whether its workflow has ended; start
     * it so that a second start of the same intentId does nothing, and set finished_at when it has ended: until then (or
     * work.intent_live_s) no other intent of this workflow and position is written.
     */
    public function handle(): void
    {
        $row = DB::table('workflow_intents')->where('id', $this->intentId)->first();
        if ($row === null || $row->finished_at !== null) {
            return;
        }
        app(\App\Workflows\IntentStarter::class)->start(
            $this->intentId,
            $this->workflow,
            $this->accountId,
            $this->positionId,
            $this->orderId,
            $this->arguments,
        );
    }
}
