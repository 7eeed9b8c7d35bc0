// Partial rows are collected by counting and filling, in task order, so that no row is numbered by a running rank:
// those of the first request of each stretch. All requests of a stretch are read by the same tasks, in consecutive
// rows.
//
// A request's partial rows fall into parts: maximal runs of query heads that the same tasks cover. Nearly always all
// tasks cover all heads and there is one part; head-wise cuts (persistent kernels that split the work of one KV head)
// make several.
#include "scheduler/row_merger.h"

#include <algorithm>
#include <span>

#include "core/error.h"

namespace espalier::scheduler {
namespace {

struct PartialRow {
  TaskId task;
  std::int32_t row;  ///< within the task's query group
};

/// A run of heads and the partial rows that hold it, as rows of `MergeList::rows`.
struct Part {
  std::int32_t head_begin, head_end;
  std::size_t first, last;
  friend bool operator==(const Part&, const Part&) = default;
};

struct MergeList {
  std::vector<Part> parts;
  std::vector<PartialRow> rows;
};

class RowMerger {
 public:
  RowMerger(PlanBuilder& builder, TaskId first, traces::Dtype dtype)
      : builder_(builder), plan_(builder.plan()), dtype_(dtype) {
    tasks_.reserve(static_cast<std::size_t>(builder.next_task().value - first.value));
    for (TaskId t = first; t < builder.next_task(); ++t.value) {
      const Task& task = plan_.tasks[t];
      if (task.kind == TaskKind::attend && !task.slot.valid() && task.folds.size() == 0) tasks_.push_back(t);
    }
  }

  void run() {
    if (tasks_.empty()) return;
    find_stretches();
    count_rows();
    if (uniform_ && most_rows_ < 2) return;  // all rows are final
    collect_rows();
    shared_.assign(plan_.tasks.size(), 0);
    if (uniform_) {
      run_uniform();
    } else {
      run_by_parts();
    }
  }

 private:
  std::int32_t head_end(TaskId t) const {
    const Task& task = plan_.tasks[t];
    return task.head_begin + task.head_count * task.copies;
  }

  /// All tasks cover the same heads: a request's rows are one part, and stay where they are.
  void run_uniform() {
    for (std::size_t s = 0; s < stretch_count(); ++s) {
      const std::span<const PartialRow> rows = rows_of(s);
      if (rows.size() < 2) continue;
      for (const PartialRow& row : rows) shared_[row.task.index()] = 1;
    }
    make_slots();
    const std::int32_t head_begin = plan_.tasks[tasks_[0]].head_begin, last_head = head_end(tasks_[0]);
    std::span<const PartialRow> open;
    std::int32_t run = 0;
    for (std::size_t s = 0; s < stretch_count(); ++s) {
      const std::span<const PartialRow> rows = rows_of(s);
      if (rows.empty() || !plan_.tasks[rows[0].task].slot.valid()) continue;
      if (run > 0 && follows(open, rows, run)) {
        run += length_of(s);
        continue;
      }
      if (run > 0) emit_step(open, head_begin, last_head, run);
      open = rows;
      run = length_of(s);
    }
    if (run > 0) emit_step(open, head_begin, last_head, run);
  }

  void run_by_parts() {
    MergeList list, open;
    for (std::size_t s = 0; s < stretch_count(); ++s) {
      list_of(s, list);
      for (const Part& part : list.parts) {
        if (part.last - part.first < 2) continue;
        for (std::size_t i = part.first; i < part.last; ++i) shared_[list.rows[i].task.index()] = 1;
      }
    }
    make_slots();
    std::int32_t run = 0;
    for (std::size_t s = 0; s < stretch_count(); ++s) {
      list_of(s, list);
      std::erase_if(list.parts,
                    [&](const Part& part) { return !plan_.tasks[list.rows[part.first].task].slot.valid(); });
      if (list.parts.empty()) continue;
      if (run > 0 && continues(open, list, run)) {
        run += length_of(s);
        continue;
      }
      emit(open, run);
      std::swap(open, list);
      run = length_of(s);
    }
    emit(open, run);
  }

  std::size_t stretch_count() const { return stretch_.size() - 1; }
  std::int32_t length_of(std::size_t s) const { return stretch_[s + 1] - stretch_[s]; }
  std::span<const PartialRow> rows_of(std::size_t s) const {
    return std::span(rows_).subspan(begin_[s], begin_[s + 1] - begin_[s]);
  }

  /// Runs of requests in a task's group: visit(first, last, row of the first).
  template <class Visit>
  void for_runs(TaskId t, Visit visit) const {
    const Interval group = plan_.tasks[t].queries;
    // The first of all query rows are those of all requests, in order.
    if (static_cast<std::size_t>(group.end) <= plan_.forest.request_count()) return visit(group.begin, group.end, 0);
    const RequestId* const rows = plan_.query_rows.data() + group.begin;
    for (std::int32_t begin = 0, end = 1; begin < group.size(); begin = end++) {
      while (end < group.size() && rows[end].value == rows[end - 1].value + 1) ++end;
      visit(rows[begin].value, rows[end - 1].value + 1, begin);
    }
  }

  /// visit(stretch, row of its first request) for all of a task's group.
  template <class Visit>
  void for_stretches(TaskId t, Visit visit) const {
    for_runs(t, [&](std::int32_t first, std::int32_t last, std::int32_t row) {
      for (auto s = static_cast<std::size_t>(place_[static_cast<std::size_t>(first)]); stretch_[s] < last; ++s) {
        visit(s, row + stretch_[s] - first);
      }
    });
  }

  /// Where a run of some task begins or ends, a stretch does.
  void find_stretches() {
    const std::size_t requests = plan_.forest.request_count();
    place_.assign(requests + 1, 0);
    for (const TaskId t : tasks_) {
      for_runs(t, [&](std::int32_t first, std::int32_t last, std::int32_t) {
        place_[static_cast<std::size_t>(first)] = place_[static_cast<std::size_t>(last)] = 1;
      });
    }
    for (std::size_t r = 0; r < requests; ++r) {
      const bool begins = place_[r] != 0 || r == 0;
      place_[r] = static_cast<std::int32_t>(stretch_.size());
      if (begins) stretch_.push_back(static_cast<std::int32_t>(r));
    }
    stretch_.push_back(static_cast<std::int32_t>(requests));
  }

  void count_rows() {
    // Two places ahead, so that filling leaves each stretch's begin in its place.
    begin_.assign(stretch_count() + 2, 0);
    const Task& first = plan_.tasks[tasks_[0]];
    const std::int32_t last_head = head_end(tasks_[0]);
    for (const TaskId t : tasks_) {
      uniform_ = uniform_ && plan_.tasks[t].head_begin == first.head_begin && head_end(t) == last_head;
      for_stretches(t, [&](std::size_t s, std::int32_t) { ++begin_[s + 2]; });
    }
    most_rows_ = *std::max_element(begin_.begin(), begin_.end());
  }

  void collect_rows() {
    for (std::size_t s = 2; s < begin_.size(); ++s) begin_[s] += begin_[s - 1];
    rows_.resize(begin_.back());
    for (const TaskId t : tasks_) {
      for_stretches(t, [&](std::size_t s, std::int32_t row) { rows_[begin_[s + 1]++] = {t, row}; });
    }
  }

  /// Parts of the partial rows of a stretch's first request, in head order. Reuses the list's storage.
  void list_of(std::size_t stretch, MergeList& list) {
    list.parts.clear();
    list.rows.clear();
    const std::span<const PartialRow> rows = rows_of(stretch);
    if (rows.empty()) return;
    borders_.clear();
    for (const PartialRow& row : rows) {
      borders_.push_back(plan_.tasks[row.task].head_begin);
      borders_.push_back(head_end(row.task));
    }
    std::sort(borders_.begin(), borders_.end());
    borders_.erase(std::unique(borders_.begin(), borders_.end()), borders_.end());
    for (std::size_t b = 0; b + 1 < borders_.size(); ++b) {
      Part part{borders_[b], borders_[b + 1], list.rows.size(), 0};
      for (const PartialRow& row : rows) {
        if (plan_.tasks[row.task].head_begin <= part.head_begin && head_end(row.task) >= part.head_end) {
          list.rows.push_back(row);
        }
      }
      part.last = list.rows.size();
      // At each border some task begins or ends, so neighbouring parts never have the same tasks.
      if (part.first != part.last) list.parts.push_back(part);
    }
  }

  void make_slots() {
    builder_.reserve_merges(static_cast<std::size_t>(std::count(shared_.begin(), shared_.end(), 1)), stretch_count(),
                            rows_.size());
    for (const TaskId t : tasks_) {
      if (!shared_[t.index()]) continue;
      Slot slot;
      slot.queries = plan_.tasks[t].queries;
      slot.head_begin = plan_.tasks[t].head_begin;
      slot.head_count = head_end(t) - slot.head_begin;
      slot.dtype = dtype_;
      slot.columns = plan_.heads.v_dim;
      plan_.tasks[t].slot = builder_.slot(slot);
    }
  }

  /// True when `rows` are those of `open` moved down by `run`: the same slots.
  static bool follows(std::span<const PartialRow> open, std::span<const PartialRow> rows, std::int32_t run) {
    return std::equal(
        open.begin(), open.end(), rows.begin(), rows.end(),
        [run](const PartialRow& a, const PartialRow& b) { return a.task == b.task && a.row + run == b.row; });
  }

  static std::span<const PartialRow> rows_in(const MergeList& list, const Part& part) {
    return std::span(list.rows).subspan(part.first, part.last - part.first);
  }

  /// True when `list` is `open` moved down by `run` rows: the same slots, parts and heads.
  static bool continues(const MergeList& open, const MergeList& list, std::int32_t run) {
    return open.parts == list.parts && std::all_of(open.parts.begin(), open.parts.end(), [&](const Part& part) {
             return follows(rows_in(open, part), rows_in(list, part), run);
           });
  }

  /// The steps of `run` requests of which the first has this list.
  void emit(const MergeList& list, std::int32_t run) {
    if (run == 0) return;
    for (const Part& part : list.parts) emit_step(rows_in(list, part), part.head_begin, part.head_end, run);
  }

  void emit_step(std::span<const PartialRow> rows, std::int32_t head_begin, std::int32_t last_head, std::int32_t run) {
    inputs_.resize(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) inputs_[i] = {plan_.tasks[rows[i].task].slot, rows[i].row};
    ReductionStep step;
    step.rows = run;
    // The final rows are those of the requests in the first input's own group.
    step.out_row = plan_.slots[inputs_[0].slot].queries.begin + inputs_[0].row;
    step.head_begin = head_begin;
    step.head_count = last_head - head_begin;
    builder_.step(step, inputs_);
  }

  PlanBuilder& builder_;
  Plan& plan_;
  traces::Dtype dtype_;
  bool uniform_ = true;        ///< all tasks cover the same heads
  std::size_t most_rows_ = 0;  ///< of a request
  std::vector<TaskId> tasks_;
  std::vector<char> shared_;                   ///< tasks that some query can't take as its final row
  std::vector<std::int32_t> stretch_, place_;  ///< first request of each, and the end; by request: stretch
  std::vector<std::size_t> begin_;             ///< rows of stretch s: [begin_[s], begin_[s + 1]) of rows_
  std::vector<PartialRow> rows_;
  std::vector<std::int32_t> borders_;
  std::vector<RowRef> inputs_;
};

}  // namespace

void merge_rows(PlanBuilder& builder, TaskId first, traces::Dtype dtype) { RowMerger(builder, first, dtype).run(); }

}  // namespace espalier::scheduler
