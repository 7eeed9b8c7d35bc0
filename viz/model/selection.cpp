#include "viz/model/selection.h"

#include <algorithm>
#include <utility>

namespace espalier::viz {
namespace {

using Pairs = std::vector<std::pair<std::int32_t, std::int32_t>>;

Adjacency adjacency(Pairs pairs, std::size_t rows) {
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  Adjacency out;
  out.begin.assign(rows + 1, 0);
  out.ids.reserve(pairs.size());
  for (const auto& [row, id] : pairs) {
    ++out.begin[static_cast<std::size_t>(row) + 1];
    out.ids.push_back(id);
  }
  for (std::size_t r = 0; r < rows; ++r) out.begin[r + 1] += out.begin[r];
  return out;
}

void sort_unique(std::vector<std::int32_t>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

/// Follows rows from slots to every merge and folding task they end up in.
void follow_rows(const scheduler::Plan& plan, const PlanLinks& links, std::vector<std::int32_t> slots, Linked& out) {
  std::vector<bool> seen(plan.slots.size());
  while (!slots.empty()) {
    const std::int32_t slot = slots.back();
    slots.pop_back();
    if (slot < 0 || seen[static_cast<std::size_t>(slot)]) continue;
    seen[static_cast<std::size_t>(slot)] = true;
    for (const std::int32_t merge : links.merges_of_slot.of(slot)) {
      out.merges.push_back(merge);
      slots.push_back(plan.steps[scheduler::StepId(merge)].out.value);
    }
    for (const std::int32_t reader : links.readers_of_slot.of(slot)) {
      out.tasks.push_back(reader);
      slots.push_back(plan.tasks[scheduler::TaskId(reader)].slot.value);
    }
  }
}

/// Follows a merge's inputs back to the tasks that wrote them, and what those folded in.
void follow_inputs(const scheduler::Plan& plan, const PlanLinks& links, std::int32_t merge, Linked& out) {
  std::vector<bool> seen(plan.slots.size());
  std::vector<std::int32_t> slots;
  const auto push_inputs = [&](std::int32_t step) {
    const scheduler::Interval inputs = plan.steps[scheduler::StepId(step)].inputs;
    for (std::int32_t i = inputs.begin; i < inputs.end; ++i) {
      slots.push_back(plan.reduction_inputs[static_cast<std::size_t>(i)].slot.value);
    }
  };
  push_inputs(merge);
  while (!slots.empty()) {
    const std::int32_t slot = slots.back();
    slots.pop_back();
    if (seen[static_cast<std::size_t>(slot)]) continue;
    seen[static_cast<std::size_t>(slot)] = true;
    for (const std::int32_t before : links.merges_into_slot.of(slot)) {
      out.merges.push_back(before);
      push_inputs(before);
    }
    const std::int32_t writer = links.writer_of_slot[static_cast<std::size_t>(slot)];
    if (writer < 0) continue;
    out.tasks.push_back(writer);
    const scheduler::Interval folds = plan.tasks[scheduler::TaskId(writer)].folds;
    for (std::int32_t f = folds.begin; f < folds.end; ++f) {
      slots.push_back(plan.fold_slots[static_cast<std::size_t>(f)].value);
    }
  }
}

void add_task_nodes(const scheduler::Plan& plan, std::int32_t task, Linked& out) {
  const scheduler::Interval segments = plan.tasks[scheduler::TaskId(task)].segments;
  for (std::int32_t s = segments.begin; s < segments.end; ++s) {
    out.nodes.push_back(plan.segments[static_cast<std::size_t>(s)].node.value);
  }
}

std::vector<std::int32_t> slots_of(const scheduler::Plan& plan, const std::vector<std::int32_t>& tasks) {
  std::vector<std::int32_t> slots;
  for (const std::int32_t t : tasks) slots.push_back(plan.tasks[scheduler::TaskId(t)].slot.value);
  return slots;
}

void add_requests(const scheduler::Plan& plan, scheduler::Interval rows, Linked& out) {
  for (std::int32_t r = rows.begin; r < rows.end; ++r) {
    out.requests.push_back(plan.query_rows[static_cast<std::size_t>(r)].value);
  }
}

/// Query rows that the rows of a merge belong to.
scheduler::Interval rows_of(const scheduler::Plan& plan, const scheduler::ReductionStep& step) {
  const std::int32_t base = step.out.valid() ? plan.slots[step.out].queries.begin : 0;
  return {base + step.out_row, base + step.out_row + step.rows};
}

void link_node(const scheduler::Plan& plan, const PlanLinks& links, std::int32_t node, Linked& out) {
  const scheduler::NodeId id(node);
  out.nodes.push_back(node);
  for (std::int32_t r = plan.forest.request_begin[id].value; r < plan.forest.request_end[id].value; ++r) {
    out.requests.push_back(r);
  }
  out.tasks = links.tasks_of_node.of(node);
  const std::vector<std::int32_t> readers = out.tasks;
  follow_rows(plan, links, slots_of(plan, readers), out);
}

void link_request(const scheduler::Plan& plan, const PlanLinks& links, std::int32_t request, Linked& out) {
  out.requests.push_back(request);
  for (const scheduler::NodeId n : traces::path_of(plan.forest, plan.forest.leaf[scheduler::RequestId(request)])) {
    out.nodes.push_back(n.value);
  }
  out.tasks = links.tasks_of_request.of(request);
  out.merges = links.merges_of_request.of(request);
}

void link_task(const scheduler::Plan& plan, const PlanLinks& links, std::int32_t task, Linked& out) {
  out.tasks.push_back(task);
  add_task_nodes(plan, task, out);
  add_requests(plan, plan.tasks[scheduler::TaskId(task)].queries, out);
  follow_rows(plan, links, slots_of(plan, {task}), out);
}

void link_merge(const scheduler::Plan& plan, const PlanLinks& links, std::int32_t merge, Linked& out) {
  out.merges.push_back(merge);
  add_requests(plan, rows_of(plan, plan.steps[scheduler::StepId(merge)]), out);
  follow_inputs(plan, links, merge, out);
  for (const std::int32_t t : std::vector<std::int32_t>(out.tasks)) add_task_nodes(plan, t, out);
}

}  // namespace

bool Linked::has(Item item) const {
  const auto in = [&](const std::vector<std::int32_t>& ids) {
    return std::binary_search(ids.begin(), ids.end(), item.index);
  };
  switch (item.kind) {
    case ItemKind::none:
      return false;
    case ItemKind::node:
      return in(nodes);
    case ItemKind::request:
      return in(requests);
    case ItemKind::task:
      return in(tasks);
    case ItemKind::merge:
      return in(merges);
  }
  return false;
}

std::vector<std::int32_t> Adjacency::of(std::int32_t row) const {
  if (row < 0 || static_cast<std::size_t>(row) + 1 >= begin.size()) return {};
  return {ids.begin() + begin[static_cast<std::size_t>(row)], ids.begin() + begin[static_cast<std::size_t>(row) + 1]};
}

PlanLinks link(const scheduler::Plan& plan) {
  Pairs node_task, request_task, request_merge, slot_merge, slot_reader, slot_source;
  PlanLinks links;
  links.writer_of_slot.assign(plan.slots.size(), -1);
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    const scheduler::Task& task = plan.tasks[scheduler::TaskId(i)];
    for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
      node_task.emplace_back(plan.segments[static_cast<std::size_t>(s)].node.value, id);
    }
    for (std::int32_t q = task.queries.begin; q < task.queries.end; ++q) {
      request_task.emplace_back(plan.query_rows[static_cast<std::size_t>(q)].value, id);
    }
    for (std::int32_t f = task.folds.begin; f < task.folds.end; ++f) {
      slot_reader.emplace_back(plan.fold_slots[static_cast<std::size_t>(f)].value, id);
    }
    if (task.slot.valid()) links.writer_of_slot[task.slot.index()] = id;
  }
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    const scheduler::ReductionStep& step = plan.steps[scheduler::StepId(i)];
    for (std::int32_t k = step.inputs.begin; k < step.inputs.end; ++k) {
      slot_merge.emplace_back(plan.reduction_inputs[static_cast<std::size_t>(k)].slot.value, id);
    }
    const scheduler::Interval rows = rows_of(plan, step);
    for (std::int32_t r = rows.begin; r < rows.end; ++r) {
      request_merge.emplace_back(plan.query_rows[static_cast<std::size_t>(r)].value, id);
    }
    if (step.out.valid()) slot_source.emplace_back(step.out.value, id);
  }
  links.tasks_of_node = adjacency(std::move(node_task), plan.forest.node_count());
  links.tasks_of_request = adjacency(std::move(request_task), plan.forest.request_count());
  links.merges_of_request = adjacency(std::move(request_merge), plan.forest.request_count());
  links.merges_of_slot = adjacency(std::move(slot_merge), plan.slots.size());
  links.readers_of_slot = adjacency(std::move(slot_reader), plan.slots.size());
  links.merges_into_slot = adjacency(std::move(slot_source), plan.slots.size());
  return links;
}

Linked linked(const scheduler::Plan& plan, const PlanLinks& links, Selection selection) {
  Linked out;
  const auto inside = [&](std::size_t rows) {
    return selection.index >= 0 && static_cast<std::size_t>(selection.index) < rows;
  };
  if (selection.kind == ItemKind::node && inside(plan.forest.node_count())) {
    link_node(plan, links, selection.index, out);
  }
  if (selection.kind == ItemKind::request && inside(plan.forest.request_count())) {
    link_request(plan, links, selection.index, out);
  }
  if (selection.kind == ItemKind::task && inside(plan.tasks.size())) link_task(plan, links, selection.index, out);
  if (selection.kind == ItemKind::merge && inside(plan.steps.size())) link_merge(plan, links, selection.index, out);
  for (std::vector<std::int32_t>* ids : {&out.nodes, &out.requests, &out.tasks, &out.merges}) sort_unique(*ids);
  return out;
}

Linked linked_tasks(const scheduler::Plan& plan, std::vector<std::int32_t> tasks) {
  std::vector<bool> nodes(plan.forest.node_count()), requests(plan.forest.request_count());
  for (const std::int32_t t : tasks) {
    const scheduler::Task& task = plan.tasks[scheduler::TaskId(t)];
    for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
      nodes[plan.segments[static_cast<std::size_t>(s)].node.index()] = true;
    }
    for (std::int32_t q = task.queries.begin; q < task.queries.end; ++q) {
      requests[plan.query_rows[static_cast<std::size_t>(q)].index()] = true;
    }
  }
  const auto marked = [](const std::vector<bool>& marks) {
    std::vector<std::int32_t> ids;
    for (std::size_t i = 0; i < marks.size(); ++i) {
      if (marks[i]) ids.push_back(static_cast<std::int32_t>(i));
    }
    return ids;
  };
  return {marked(nodes), marked(requests), std::move(tasks), {}};
}

}  // namespace espalier::viz
