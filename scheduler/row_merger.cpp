// Partial rows are collected per request by counting and filling, in task order, so that no row is numbered by a running rank.
//
// A request's partial rows fall into parts: maximal runs of query heads that the same tasks cover. Nearly always all tasks
// cover all heads and there is one part; head-wise cuts (persistent kernels that split the work of one KV head) make several.
#include "scheduler/row_merger.h"

#include <algorithm>

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
  RowMerger(PlanBuilder& builder, TaskId first, traces::Dtype dtype) : builder_(builder), plan_(builder.plan()), dtype_(dtype) {
    for (TaskId t = first; t < builder.next_task(); ++t.value) {
      const Task& task = plan_.tasks[t];
      if (task.kind == TaskKind::attend && !task.slot.valid() && task.folds.size() == 0) tasks_.push_back(t);
    }
  }

  void run() {
    if (tasks_.empty()) return;
    collect_rows();
    MergeList list, open;
    std::vector<char> shared(plan_.tasks.size(), 0);  // tasks that some query can't take as its final row
    for (const RequestId r : core::ids<RequestId>(plan_.forest.request_count())) {
      list_of(r, list);
      for (const Part& part : list.parts) {
        if (part.last - part.first < 2) continue;
        for (std::size_t i = part.first; i < part.last; ++i) shared[list.rows[i].task.index()] = 1;
      }
    }
    make_slots(shared);
    std::int32_t run = 0;
    for (const RequestId r : core::ids<RequestId>(plan_.forest.request_count())) {
      list_of(r, list);
      std::erase_if(list.parts, [&](const Part& part) { return !plan_.tasks[list.rows[part.first].task].slot.valid(); });
      if (list.parts.empty()) continue;
      if (run > 0 && continues(open, list, run)) {
        ++run;
        continue;
      }
      emit(open, run);
      std::swap(open, list);
      run = 1;
    }
    emit(open, run);
  }

 private:
  std::int32_t head_end(TaskId t) const {
    const Task& task = plan_.tasks[t];
    return task.head_begin + task.head_count * task.copies;
  }

  void collect_rows() {
    begin_.assign(plan_.forest.request_count() + 1, 0);
    uniform_ = true;
    for (const TaskId t : tasks_) {
      const Task& task = plan_.tasks[t];
      uniform_ = uniform_ && task.head_begin == plan_.tasks[tasks_[0]].head_begin && head_end(t) == head_end(tasks_[0]);
      for (std::int32_t q = task.queries.begin; q < task.queries.end; ++q) {
        ++begin_[plan_.query_rows[static_cast<std::size_t>(q)].index() + 1];
      }
    }
    for (std::size_t r = 1; r < begin_.size(); ++r) begin_[r] += begin_[r - 1];
    rows_.resize(begin_.back());
    std::vector<std::size_t> next(begin_.begin(), begin_.end() - 1);
    for (const TaskId t : tasks_) {
      const Interval queries = plan_.tasks[t].queries;
      for (std::int32_t q = queries.begin; q < queries.end; ++q) {
        rows_[next[plan_.query_rows[static_cast<std::size_t>(q)].index()]++] = {t, q - queries.begin};
      }
    }
  }

  /// Parts of one request's partial rows, in head order. Reuses the list's storage.
  void list_of(RequestId r, MergeList& list) {
    list.parts.clear();
    list.rows.clear();
    const auto first = rows_.begin() + static_cast<std::ptrdiff_t>(begin_[r.index()]);
    const auto last = rows_.begin() + static_cast<std::ptrdiff_t>(begin_[r.index() + 1]);
    if (first == last) return;
    if (uniform_) {
      list.rows.assign(first, last);
      list.parts.push_back({plan_.tasks[first->task].head_begin, head_end(first->task), 0, list.rows.size()});
      return;
    }
    borders_.clear();
    for (auto row = first; row != last; ++row) {
      borders_.push_back(plan_.tasks[row->task].head_begin);
      borders_.push_back(head_end(row->task));
    }
    std::sort(borders_.begin(), borders_.end());
    borders_.erase(std::unique(borders_.begin(), borders_.end()), borders_.end());
    for (std::size_t b = 0; b + 1 < borders_.size(); ++b) {
      Part part{borders_[b], borders_[b + 1], list.rows.size(), 0};
      for (auto row = first; row != last; ++row) {
        if (plan_.tasks[row->task].head_begin <= part.head_begin && head_end(row->task) >= part.head_end) list.rows.push_back(*row);
      }
      part.last = list.rows.size();
      // At each border some task begins or ends, so neighbouring parts never have the same tasks.
      if (part.first != part.last) list.parts.push_back(part);
    }
  }

  void make_slots(const std::vector<char>& shared) {
    for (const TaskId t : tasks_) {
      if (!shared[t.index()]) continue;
      Slot slot;
      slot.queries = plan_.tasks[t].queries;
      slot.head_begin = plan_.tasks[t].head_begin;
      slot.head_count = head_end(t) - slot.head_begin;
      slot.dtype = dtype_;
      slot.columns = plan_.heads.v_dim;
      plan_.tasks[t].slot = builder_.slot(slot);
    }
  }

  /// True when `list` is `open` moved down by `run` rows: the same slots, parts and heads.
  static bool continues(const MergeList& open, const MergeList& list, std::int32_t run) {
    if (open.parts != list.parts) return false;
    for (const Part& part : open.parts) {
      for (std::size_t i = part.first; i < part.last; ++i) {
        if (open.rows[i].task != list.rows[i].task || open.rows[i].row + run != list.rows[i].row) return false;
      }
    }
    return true;
  }

  /// The steps of `run` requests of which the first has this list.
  void emit(const MergeList& list, std::int32_t run) {
    if (run == 0) return;
    for (const Part& part : list.parts) {
      inputs_.clear();
      for (std::size_t i = part.first; i < part.last; ++i) {
        inputs_.push_back({plan_.tasks[list.rows[i].task].slot, list.rows[i].row});
      }
      ReductionStep step;
      step.rows = run;
      // The final rows are those of the requests in the first input's own group.
      step.out_row = plan_.slots[inputs_[0].slot].queries.begin + inputs_[0].row;
      step.head_begin = part.head_begin;
      step.head_count = part.head_end - part.head_begin;
      builder_.step(step, inputs_);
    }
  }

  PlanBuilder& builder_;
  Plan& plan_;
  traces::Dtype dtype_;
  bool uniform_ = true;  ///< all tasks cover the same heads
  std::vector<TaskId> tasks_;
  std::vector<std::size_t> begin_;  ///< rows of request r: [begin_[r], begin_[r + 1]) of rows_
  std::vector<PartialRow> rows_;
  std::vector<std::int32_t> borders_;
  std::vector<RowRef> inputs_;
};

}  // namespace

void merge_rows(PlanBuilder& builder, TaskId first, traces::Dtype dtype) { RowMerger(builder, first, dtype).run(); }

}  // namespace espalier::scheduler
