<?php

declare(strict_types=1);

// The job that kraite-streams pushes, printed by `kraite-streams print laravel-adapter`. Put it where its namespace says
// (here app/Jobs/StoreUserDataEvent.php) and name it in the settings:
//
//     [queue]
//     job_class = 'App\Jobs\StoreUserDataEvent'
//
// What must stay as it is: the four properties with their names and types. The daemon writes them in PHP's own serialize()
// format; no constructor runs. Everything in handle() is yours.

namespace App\Jobs;

use Illuminate\Contracts\Queue\ShouldQueue;

// No SerializesModels and none of the other queue traits: the job holds plain values only, and a trait's properties differ
// from one framework version to the next. Tries, backoff and timeout are the worker's options (or Horizon's supervisor's).
final class StoreUserDataEvent implements ShouldQueue
{
    /** accounts.id */
    public int $accountId;

    /** api_systems.id */
    public int $apiSystemId;

    /** api_systems.canonical, such as "binance" */
    public string $apiSystemCanonical;

    /**
     * The event as json_decode($text, true) has it: prices sent as strings stay strings. A frame that was no JSON object or
     * list is ['raw_base64' => '…'].
     *
     * @var array<array-key, mixed>
     */
    public array $payload;

    /**
     * The same frame may arrive twice: after a crash of this worker, of Redis or of the daemon it is pushed again. So what you
     * do here must be safe to repeat; a unique index over the event is the usual way.
     *
     * Run one worker process for this queue if the order of one account's events matters to you.
     */
    public function handle(): void
    {
        // (a) Call your own code. Laravel builds the handler, so its constructor may ask for anything.
        app(\App\UserData\UserDataEventHandler::class)->handle(
            $this->accountId,
            $this->apiSystemId,
            $this->apiSystemCanonical,
            $this->payload,
        );

        // (b) Or, in an application whose work runs as steps of a dispatcher, create the step here and let the dispatcher run
        //     it. Do it through the package's model where there is one: its observers choose group and queue. A step's own job
        //     class must never be named in the daemon's settings: without its row it is acknowledged and never runs.
        //
        // \App\Models\Step::query()->create([
        //     'class' => \App\Jobs\ProcessUserDataEventStep::class,
        //     'queue' => 'user-data-stream',
        //     'block_uuid' => (string) \Illuminate\Support\Str::uuid(),
        //     'workflow_id' => (string) \Illuminate\Support\Str::uuid(),
        //     'index' => 1,
        //     'arguments' => [
        //         'accountId' => $this->accountId,
        //         'apiSystemId' => $this->apiSystemId,
        //         'apiSystemCanonical' => $this->apiSystemCanonical,
        //         'payload' => $this->payload,
        //     ],
        // ]);
        //
        //     The same with the query builder, where the table has a prefix and no model is at hand:
        //
        // \Illuminate\Support\Facades\DB::table('trading_steps')->insert([
        //     'class' => \App\Jobs\ProcessUserDataEventStep::class,
        //     'type' => 'default',
        //     'state' => 'StepDispatcher\States\Pending',
        //     'group' => 'alpha',
        //     'queue' => 'user-data-stream',
        //     'block_uuid' => (string) \Illuminate\Support\Str::uuid(),
        //     'workflow_id' => (string) \Illuminate\Support\Str::uuid(),
        //     'index' => 1,
        //     'arguments' => json_encode(get_object_vars($this), JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION),
        //     'created_at' => now(),
        //     'updated_at' => now(),
        // ]);
    }
}
