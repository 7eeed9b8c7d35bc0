// Dependencies of a plan in O(tasks + steps): barriers and slots are vertices of their own (hubs), so that many writers
// and many readers cost a sum of edges, not a product.
#include "scheduler/plan_graph.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/graph/compressed_sparse_row_graph.hpp>
#include <boost/graph/graphviz.hpp>
#include <boost/graph/topological_sort.hpp>
#include <sstream>

#include "core/error.h"

namespace espalier::scheduler {
namespace {

using Graph = boost::compressed_sparse_row_graph<boost::directedS>;
using Edge = std::pair<std::size_t, std::size_t>;
using Kind = PlanVertex::Kind;

/// Vertices in this order: launch begins, launch ends, tasks, steps, slots, barriers.
struct PlanGraph {
  std::size_t launches, tasks, steps, slots;
  std::size_t vertices;
  std::vector<Edge> edges;

  std::size_t begin_of(LaunchId l) const { return l.index(); }
  std::size_t end_of(LaunchId l) const { return launches + l.index(); }
  std::size_t of(TaskId t) const { return 2 * launches + t.index(); }
  std::size_t of(StepId s) const { return 2 * launches + tasks + s.index(); }
  std::size_t of(SlotId s) const { return 2 * launches + tasks + steps + s.index(); }
  std::size_t first_slot() const { return 2 * launches + tasks + steps; }
  std::size_t first_barrier() const { return first_slot() + slots; }
  bool is_hub(std::size_t v) const { return v >= first_slot(); }

  void edge(std::size_t from, std::size_t to) { edges.emplace_back(from, to); }
  Graph sorted() const { return {boost::edges_are_unsorted_multi_pass, edges.begin(), edges.end(), vertices}; }

  PlanVertex vertex(std::size_t v) const {
    const auto index = [](std::size_t i) { return static_cast<std::int32_t>(i); };
    if (v < launches) return {Kind::launch_begin, index(v)};
    if (v < 2 * launches) return {Kind::launch_end, index(v - launches)};
    if (v < 2 * launches + tasks) return {Kind::task, index(v - 2 * launches)};
    return {Kind::step, index(v - 2 * launches - tasks)};
  }
};

void add_launch(PlanGraph& g, const Plan& plan, LaunchId l) {
  const Launch& launch = plan.launches[l];
  for (std::int32_t d = launch.dependencies.begin; d < launch.dependencies.end; ++d) {
    g.edge(g.end_of(plan.dependencies[static_cast<std::size_t>(d)]), g.begin_of(l));
  }
  g.edge(g.begin_of(l), g.end_of(l));
  std::size_t anchor = g.begin_of(l);  // what items of the phase wait for
  std::vector<std::size_t> since;      // items since the last barrier
  for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
    const Phase& phase = plan.phases[static_cast<std::size_t>(p)];
    // A step that starts on arrival waits for its inputs alone, which the slots' edges say.
    if (phase.start == PhaseStart::barrier && p > launch.phases.begin) {
      const std::size_t barrier = g.vertices++;
      for (const std::size_t item : since) g.edge(item, barrier);
      g.edge(anchor, barrier);
      since.clear();
      anchor = barrier;
    }
    for (std::int32_t i = phase.range.begin; i < phase.range.end; ++i) {
      const std::size_t item = phase.kind == PhaseKind::tasks ? g.of(TaskId(i)) : g.of(StepId(i));
      g.edge(anchor, item);
      since.push_back(item);
    }
  }
  if (anchor != g.begin_of(l)) g.edge(anchor, g.end_of(l));
  for (const std::size_t item : since) g.edge(item, g.end_of(l));
}

PlanGraph graph_of(const Plan& plan) {
  PlanGraph g{plan.launches.size(), plan.tasks.size(), plan.steps.size(), plan.slots.size(), 0, {}};
  g.vertices = g.first_barrier();
  for (const LaunchId l : core::ids<LaunchId>(g.launches)) add_launch(g, plan, l);
  for (const TaskId t : core::ids<TaskId>(g.tasks)) {
    const Task& task = plan.tasks[t];
    if (task.slot.valid()) g.edge(g.of(t), g.of(task.slot));
    for (std::int32_t i = task.folds.begin; i < task.folds.end; ++i) {
      g.edge(g.of(plan.fold_slots[static_cast<std::size_t>(i)]), g.of(t));
    }
  }
  for (const StepId s : core::ids<StepId>(g.steps)) {
    const ReductionStep& step = plan.steps[s];
    if (step.out.valid()) g.edge(g.of(s), g.of(step.out));
    for (std::int32_t i = step.inputs.begin; i < step.inputs.end; ++i) {
      g.edge(g.of(plan.reduction_inputs[static_cast<std::size_t>(i)].slot), g.of(s));
    }
  }
  return g;
}

/// Vertices so that every edge goes forward; false when there is a cycle.
bool sort_vertices(const Graph& graph, std::vector<std::size_t>& order) {
  order.clear();
  order.reserve(num_vertices(graph));
  try {
    topological_sort(graph, std::back_inserter(order));
  } catch (const boost::not_a_dag&) {
    return false;
  }
  std::reverse(order.begin(), order.end());
  return true;
}

/// What is drawn for each vertex of the plan's graph, and the drawn vertices' labels and shapes.
struct Drawing {
  std::vector<std::size_t> drawn_as;
  std::vector<std::string> label, shape;

  std::size_t add(std::string text, std::string form) {
    label.push_back(std::move(text));
    shape.push_back(std::move(form));
    return label.size() - 1;
  }
};

std::string task_label(const Plan& plan, TaskId t) {
  const Task& task = plan.tasks[t];
  const auto shape = task_shape(plan, task);
  std::string text =
      fmt::format("task {} {}\\n{} queries, {} tokens", t.value, kind_name(task.kind), shape.queries, shape.kv_tokens);
  if (task.copies > 1) text += fmt::format("\\nx {}", task.copies);
  return text;
}

std::string step_label(const Plan& plan, StepId s) {
  return fmt::format("step {}\\n{} inputs, {} rows", s.value, plan.steps[s].inputs.size(), plan.steps[s].rows);
}

/// Launch of each task and step vertex, for folding; the launch count where it stands in none.
std::vector<std::size_t> launch_of_items(const PlanGraph& g, const Plan& plan) {
  std::vector<std::size_t> launch_of(g.first_slot(), g.launches);
  for (const LaunchId l : core::ids<LaunchId>(g.launches)) {
    const Interval phases = plan.launches[l].phases;
    for (std::int32_t p = phases.begin; p < phases.end; ++p) {
      const Phase& phase = plan.phases[static_cast<std::size_t>(p)];
      for (std::int32_t i = phase.range.begin; i < phase.range.end; ++i) {
        launch_of[phase.kind == PhaseKind::tasks ? g.of(TaskId(i)) : g.of(StepId(i))] = l.index();
      }
    }
  }
  return launch_of;
}

Drawing draw(const PlanGraph& g, const Plan& plan, std::int64_t max_tasks) {
  Drawing drawing;
  drawing.drawn_as.resize(g.vertices);
  const std::vector<std::size_t> launch_of = launch_of_items(g, plan);
  constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  std::vector<std::size_t> folded_as(g.launches + 1, kNone), folded_items(g.launches + 1, 0);
  for (std::size_t v = 0; v < g.first_slot(); ++v) {
    const PlanVertex vertex = g.vertex(v);
    if (vertex.kind == Kind::launch_begin || vertex.kind == Kind::launch_end) {
      const char* what = vertex.kind == Kind::launch_begin ? "begins" : "ends";
      drawing.drawn_as[v] = drawing.add(fmt::format("launch {} {}", vertex.index, what), "box");
    } else if (vertex.index < max_tasks) {
      drawing.drawn_as[v] = vertex.kind == Kind::task ? drawing.add(task_label(plan, TaskId(vertex.index)), "ellipse")
                                                      : drawing.add(step_label(plan, StepId(vertex.index)), "diamond");
    } else {
      std::size_t& folded = folded_as[launch_of[v]];
      if (folded == kNone) folded = drawing.add("", "note");
      drawing.drawn_as[v] = folded;
      ++folded_items[launch_of[v]];
    }
  }
  for (std::size_t l = 0; l <= g.launches; ++l) {
    if (folded_as[l] != kNone) drawing.label[folded_as[l]] = fmt::format("{} more tasks and steps", folded_items[l]);
  }
  // A slot with one writer is drawn as the edge from it; only slots written by several are vertices.
  std::vector<std::size_t> writers(g.vertices, 0), writer(g.vertices, 0);
  for (const auto& [from, to] : g.edges) {
    ++writers[to];
    writer[to] = from;
  }
  for (std::size_t v = g.first_slot(); v < g.vertices; ++v) {
    if (v >= g.first_barrier()) {
      drawing.drawn_as[v] = drawing.add("grid barrier", "box");
    } else if (writers[v] == 1) {
      drawing.drawn_as[v] = drawing.drawn_as[writer[v]];
    } else {
      drawing.drawn_as[v] = drawing.add(fmt::format("slot {}", v - g.first_slot()), "cylinder");
    }
  }
  return drawing;
}

}  // namespace

bool is_acyclic(const Plan& plan) {
  std::vector<std::size_t> order;
  return sort_vertices(graph_of(plan).sorted(), order);
}

CriticalPath critical_path(const Plan& plan, const std::function<double(PlanVertex)>& weight) {
  const PlanGraph g = graph_of(plan);
  const Graph graph = g.sorted();
  std::vector<std::size_t> order;
  ESPALIER_CHECK(sort_vertices(graph, order));
  constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  std::vector<double> finish(g.vertices, 0);  // until a vertex is visited: the latest finish before it
  std::vector<std::size_t> before(g.vertices, kNone);
  std::size_t last = kNone;
  for (const std::size_t v : order) {
    if (!g.is_hub(v)) finish[v] += weight(g.vertex(v));
    if (last == kNone || finish[v] > finish[last]) last = v;
    for (auto [edge, end] = out_edges(v, graph); edge != end; ++edge) {
      const std::size_t next = target(*edge, graph);
      if (before[next] != kNone && finish[next] >= finish[v]) continue;
      finish[next] = finish[v];
      before[next] = v;
    }
  }
  CriticalPath path;
  if (last == kNone) return path;
  path.length = finish[last];
  for (std::size_t v = last; v != kNone; v = before[v]) {
    if (!g.is_hub(v)) path.vertices.push_back(g.vertex(v));
  }
  std::reverse(path.vertices.begin(), path.vertices.end());
  return path;
}

std::string graphviz(const Plan& plan, std::int64_t max_tasks) {
  const PlanGraph g = graph_of(plan);
  const Drawing drawing = draw(g, plan, max_tasks);
  std::vector<Edge> drawn;
  for (const auto& [from, to] : g.edges) {
    if (drawing.drawn_as[from] != drawing.drawn_as[to]) {
      drawn.emplace_back(drawing.drawn_as[from], drawing.drawn_as[to]);
    }
  }
  std::sort(drawn.begin(), drawn.end());
  drawn.erase(std::unique(drawn.begin(), drawn.end()), drawn.end());
  const Graph picture(boost::edges_are_sorted, drawn.begin(), drawn.end(), drawing.label.size());
  std::ostringstream out;
  const auto vertex = [&](std::ostream& to, std::size_t v) {
    to << fmt::format("[label=\"{}\", shape={}]", drawing.label[v], drawing.shape[v]);
  };
  boost::write_graphviz(out, picture, vertex);
  return out.str();
}

}  // namespace espalier::scheduler
