// What the host hands to a kernel: the plan's columns as they are, a few derived arrays, the tensors.
//
// Everything here is a plain struct of pointers and numbers, equal on both sides. Derived arrays are made by
// kernels/device_plan.h and hold nothing that the plan doesn't say: they save a thread from searching for it.
#pragma once

#include <cstdint>

#include "scheduler/plan_records.h"

namespace espalier::kernels {

/// A segment's tokens, looked up: a block would ask memory twice more before it could ask for its first page.
struct TokenRun {
  std::int32_t tokens = 0;
  std::uint32_t first_page = 0;  ///< logical, of its node
  std::uint32_t offset = 0;      ///< of its first token from that page's beginning, in tokens
  std::uint32_t mask = 0;        ///< rows of a copy's tile [low 16 bits, high 16 bits) see it
};

/// Of one task, for any of its copies.
struct alignas(8) TaskFacts {
  std::int32_t tokens = 0;    ///< of all its segments
  std::int32_t unmasked = 0;  ///< 1: every row sees every token
  TokenRun first;             ///< of its first segment
};

/// Writing a slot brings its readers closer to their turn: one counter a step and unit of heads.
struct Arrival {
  std::int32_t step = 0;
  std::int32_t first_counter = 0;
  std::int32_t unit_heads =
      0;                      ///< heads of a unit; a writer of these heads arrives at the unit that holds its first one
  std::int32_t expected = 0;  ///< arrivals at a unit's counter until the step may run for it
};

/// A step's rows are numbered through all steps of a phase: one row is one request's head.
struct StepRows {
  std::int32_t step = 0;  ///< negative: none, and none follows
  std::int32_t first_row = 0;
};

struct PlanColumns {
  const scheduler::Segment* segments;         // [segments]
  const scheduler::Task* tasks;               // [tasks]
  const std::int32_t* query_rows;             // [query rows]: request ids
  const std::int32_t* fold_slots;             // [folds]: slot ids
  const scheduler::Slot* slots;               // [slots]
  const scheduler::ReductionStep* steps;      // [steps]
  const scheduler::RowRef* reduction_inputs;  // [inputs]
  const std::int64_t* node_tokens;            // [nodes]
  const std::int64_t* node_first_page;        // [nodes]
  const std::int32_t* node_first_offset;      // [nodes]
  const std::int64_t* page_ids;               // [logical pages], or null: a page's id is its index
  std::int32_t page_size;
  const TaskFacts* facts;                    // [tasks]
  const Arrival* arrivals;                   // grouped by writer
  const scheduler::Interval* task_arrivals;  // [tasks], of arrivals; null: no step runs on arrival
  const scheduler::Interval* step_arrivals;  // [steps], of arrivals
};

/// Rows of K or V in a paged cache, by strides in bytes.
struct PagedRows {
  const void* base;
  std::int64_t page_stride, token_stride, head_stride;
};

struct Tensors {
  const void* queries;     // [requests][q_heads][qk_dim]
  PagedRows keys, values;  // V inside K: values unused
  void* workspace;         // [workspace bytes]
  void* rows;              // [requests][q_heads][v_dim] of row_dtype
  float* lse;              // [requests][q_heads], natural logarithm
  std::int32_t q_heads;
  std::int32_t group;  ///< query heads a KV head
  traces::Dtype row_dtype;
  float scale_log2;  ///< softmax scale x log2(e)
};

/// When and where an item of a launch ran, on the device's clock.
struct EventRecord {
  std::uint64_t begin_ns = 0, end_ns = 0;
  std::uint32_t block = 0;  ///< plus 1; 0: it never ran
  std::uint32_t sm = 0;
};

/// Where a launch's items are recorded; null: nowhere.
struct EventPlaces {
  EventRecord* items;     // one an item, as AttendParams::items
  EventRecord* arrivals;  // one an arrival counter: steps that run on arrival
  EventRecord* merges;    // one a block: rows that it merges as a launch of steps, or behind a grid barrier
};

/// Blocks of a cluster whose tasks read the same tokens of the same heads: `count`, from block `first` of the cluster
/// on. None: the block has no task.
struct alignas(4) Mates {
  std::int16_t first = 0, count = 0;
  friend bool operator==(const Mates&, const Mates&) = default;
};

/// One launch of the attend kernel. Block b runs items [queues[b]), or item b where there are no queues.
struct AttendParams {
  PlanColumns plan;
  Tensors tensors;
  const scheduler::QueueItem* items;
  const scheduler::Interval* queues;  // [blocks], of items; null: one item a block
  std::uint32_t* counters;            // [arrival counters] then 2 of the grid barrier; zero between launches
  std::int32_t arrival_counters;
  const StepRows* barrier_steps;  // steps that run behind a grid barrier, and one past the last row; null: none
  std::int32_t barrier_step_count;
  std::int32_t barrier_rows;
  EventPlaces events;
  const Mates* mates;  // [blocks]; null: a launch without clusters
};

/// One launch of the reduction kernel: a warp a row.
struct ReduceParams {
  PlanColumns plan;
  Tensors tensors;
  const StepRows* steps;
  std::int32_t step_count;
  std::int32_t rows;
  EventPlaces events;
};

}  // namespace espalier::kernels
