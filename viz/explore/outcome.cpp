#include "viz/explore/outcome.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "viz/explore/batch.h"
#include "viz/explore/view_parts.h"
#include "viz/model/axis.h"
#include "viz/model/time_split.h"

namespace espalier::viz {
namespace {

using traces::PrefixForest;

std::vector<std::string> kernels_of_tile(std::int32_t tile) {
  std::vector<std::string> names;
  for (const costmodel::KernelConfig& kernel : costmodel::kernel_catalog()) {
    const bool ours = kernel.name.starts_with("espalier_") && kernel.role == costmodel::KernelRole::attend;
    if (ours && kernel.query_tile == tile) names.push_back(kernel.name);
  }
  return names;
}

scheduler::PlanResult plan_of(const Settings& settings, const Side& side, const PrefixForest& forest,
                              const costmodel::DeviceSpec& device) {
  scheduler::PlanRequest request{forest, settings.heads, device};
  request.kernels = side.kernels;
  request.cost_model = side.cost_model;
  request.seed = settings.seed;
  if (side.query_tile > 0) request.only_kernels = kernels_of_tile(side.query_tile);
  scheduler::StrategyChoice choice = scheduler::parse_strategy(side.strategy);
  for (const auto& [name, value] : side.options) choice.options.insert_or_assign(name, value);
  return scheduler::make_plan(choice, request);
}

std::vector<TaskWork> work_of(const scheduler::Plan& plan) {
  const auto kernels = scheduler::task_kernels(plan);
  std::vector<TaskWork> work(plan.tasks.size());
  for (std::size_t t = 0; t < work.size(); ++t) {
    const scheduler::TaskId id(t);
    if (!kernels[id].valid()) continue;
    const costmodel::WorkCounts counts =
        costmodel::count_task(scheduler::task_shape(plan, plan.tasks[id]), plan.kernels[kernels[id]], plan.heads);
    work[t] = {static_cast<double>(counts.kv_bytes), static_cast<double>(counts.logical_flops)};
  }
  return work;
}

std::vector<RooflinePoint> points_of(const SideOutcome& side) {
  const scheduler::Plan& plan = *side.plan;
  std::vector<double> us(plan.tasks.size()), runs(plan.tasks.size());
  for (const scheduler::Span& span : side.explanation.result.timeline.spans) {
    if (span.kind != scheduler::SpanKind::task) continue;
    us[static_cast<std::size_t>(span.item)] += span.end_us - span.begin_us;
    runs[static_cast<std::size_t>(span.item)] += 1;
  }
  std::vector<RooflinePoint> points;
  for (std::size_t t = 0; t < plan.tasks.size(); ++t) {
    const TaskWork& work = side.work[t];
    if (us[t] <= 0 || work.kv_bytes <= 0 || work.flops <= 0) continue;
    points.push_back({work.flops / work.kv_bytes, work.flops / (us[t] / runs[t]) / 1e3, static_cast<std::int32_t>(t)});
  }
  return points;
}

/// What views look things up in.
void index_side(SideOutcome& out) {
  const scheduler::Plan& plan = *out.plan;
  out.links = link(plan);
  out.cover = index_cover(plan);
  out.work = work_of(plan);
  out.points = points_of(out);
  for (std::size_t c = 0; c < out.paints.size(); ++c) {
    out.paints[c] = task_paints(plan, out.explanation.result, static_cast<ColourBy>(c));
  }
  if (out.unedited != nullptr) out.paints[static_cast<std::size_t>(ColourBy::edits)] = edit_paints(out.diff);
  out.timeline = index_timeline(out.explanation.result, out.paints);
}

void simulate_side(SideOutcome& out) {
  const scheduler::Plan& plan = *out.plan;
  sim::SimOptions options;
  options.timeline = true;
  options.max_spans = kMostSpans;
  out.explanation = sim::explain_run(plan, out.device, options);
  out.bound = scheduler::lower_bound(plan.forest, plan.heads, out.device);
  out.statistics = scheduler::statistics(plan);
  index_side(out);
}

/// A run of the given plan. What limits a task can't be measured: it is what the simulation says.
SideOutcome measured_side(const Settings& settings, const SideOutcome& foretold, const Given& given) {
  SideOutcome out;
  out.measurement = given.measurement;
  out.plan = given.plan;
  out.title = fmt::format("measured on {}", given.measurement->device);
  out.device = device_of(settings.a, given);
  sim::SimResult& result = out.explanation.result;
  result.device = given.measurement->device;
  result.plan_hash = out.plan->hash;
  result.timeline = given.measurement->timeline;
  result.makespan_us = *std::min_element(given.measurement->repeats_us.begin(), given.measurement->repeats_us.end());
  for (const scheduler::Span& span : result.timeline.spans) {
    result.makespan_us = std::max(result.makespan_us, span.end_us);
  }
  result.task_bound = foretold.plan == out.plan ? foretold.explanation.result.task_bound
                                                : sim::simulate(*out.plan, out.device).task_bound;
  out.bound = scheduler::lower_bound(out.plan->forest, out.plan->heads, out.device);
  out.statistics = scheduler::statistics(*out.plan);
  index_side(out);
  return out;
}

/// All that can be made; what comes of them must be right like any other plan.
void apply_edits(SideOutcome& out, const Side& side) {
  if (side.edits.empty()) return;
  const std::shared_ptr<const scheduler::Plan> before = out.plan;
  for (const PlanEdit& edit : side.edits) {
    std::variant<scheduler::Plan, std::string> changed = edit_plan(*out.plan, out.device, edit);
    if (const auto* why = std::get_if<std::string>(&changed)) {
      out.edit_problem = *why;
      ++out.edits_left_out;
      continue;
    }
    ++out.edits_made;
    out.plan = std::make_shared<const scheduler::Plan>(std::get<scheduler::Plan>(std::move(changed)));
  }
  if (out.edits_made == 0) return;
  out.title += ", " + core::counted(out.edits_made, "edit");
  out.unedited_us = sim::simulate(*before, out.device).makespan_us;
  out.unedited = before;
  out.violations = scheduler::validate(*out.plan, out.device);
  if (!out.violations.empty()) {
    throw core::Error(core::ErrorKind::check_failed,
                      "the edited plan isn't right: " + scheduler::violations_text(out.violations));
  }
  out.diff = diff_tasks(*out.unedited, *out.plan);
}

/// Whether every index of the plan points somewhere.
bool can_be_drawn(const std::vector<scheduler::Violation>& violations) {
  return std::none_of(violations.begin(), violations.end(), [](const scheduler::Violation& v) {
    return v.violation == scheduler::ViolationClass::bad_index ||
           v.violation == scheduler::ViolationClass::segment_outside_node ||
           v.violation == scheduler::ViolationClass::query_unknown ||
           v.violation == scheduler::ViolationClass::hash_mismatch;
  });
}

SideOutcome compute_side(const Settings& settings, SideId id, const PrefixForest& forest, const Given& given) {
  SideOutcome out;
  const Side& side = settings.side(id);
  Side plain = side;  // the title counts edits that were made
  plain.edits.clear();
  out.title = side_title(plain);
  try {
    out.device = device_of(side, given);
    if (id == SideId::a && settings.given_plan && given.plan != nullptr) {
      out.plan = given.plan;
      out.title = given.plan->provenance.strategy;
      out.violations = scheduler::validate(*out.plan, out.device);
      if (!out.violations.empty()) {
        out.refusal = "this plan isn't right: " + scheduler::violations_text(out.violations);
        if (can_be_drawn(out.violations)) out.faulty = out.plan;
        out.plan = nullptr;
        return out;
      }
    } else {
      scheduler::PlanResult result = plan_of(settings, side, forest, out.device);
      if (const auto* refusal = std::get_if<scheduler::Refusal>(&result)) {
        out.refusal = fmt::format("{} refuses ({}): {}", side.strategy, scheduler::refusal_name(refusal->refusal),
                                  refusal->sentence);
        return out;
      }
      out.plan = std::make_shared<const scheduler::Plan>(std::get<scheduler::Plan>(std::move(result)));
    }
    apply_edits(out, side);
    simulate_side(out);
  } catch (const core::Error& e) {
    out.plan = nullptr;
    out.refusal = e.what();
  } catch (const std::bad_alloc&) {
    out.plan = nullptr;
    out.refusal = "this plan needs more memory than the machine has";
  }
  return out;
}

/// "HBM 62 %, merging 9 %": the largest parts of SM time.
std::string largest_parts(const sim::SmTimeReasons& reasons) {
  std::vector<SplitPart> parts = time_split(reasons);
  std::stable_sort(parts.begin(), parts.end(),
                   [](const SplitPart& a, const SplitPart& b) { return a.share > b.share; });
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < parts.size() && i < 2; ++i) {
    if (parts[i].share >= 0.05) texts.push_back(fmt::format("{:.0f} % {}", 100 * parts[i].share, parts[i].name));
  }
  return core::join(texts, ", ");
}

/// How well the simulation foretold the run, and how sure the run is of itself.
std::vector<std::string> measured_verdict(const SideOutcome& foretold, const SideOutcome& measured) {
  const double error = measured.us() > 0 ? foretold.us() / measured.us() - 1 : 0;
  const scheduler::Measurement& run = *measured.measurement;
  return {fmt::format("{} is foretold, {} was measured: {} %.", value_text(foretold.us(), Unit::time_us),
                      value_text(measured.us(), Unit::time_us), signed_text(100 * error, 1)),
          fmt::format("Simulated on {}; fastest of {} by {}, median {}.", foretold.device.name,
                      core::counted(static_cast<std::int64_t>(run.repeats_us.size()), "run"), run.backend,
                      value_text(scheduler::median_us(run), Unit::time_us))};
}

}  // namespace

const SideOutcome* Outcome::leading() const {
  for (const SideOutcome& s : sides) {
    if (s.shown()) return &s;
  }
  return nullptr;
}

Outcome compute(const Settings& settings, const Given& given) {
  Outcome out;
  out.settings = settings;
  out.given = given;
  try {
    traces::check_heads(settings.heads, "heads");
    const bool own = settings.given_plan && given.plan != nullptr;
    Batch batch;
    if (own) {
      batch.forest = std::make_shared<const PrefixForest>(given.plan->forest);
      batch.most_running = static_cast<std::int32_t>(given.plan->forest.request_count());
    } else {
      batch = batch_of(settings, given);
    }
    out.forest = batch.forest;
    out.most_running = batch.most_running;
    out.steps = batch.steps;
    out.forest_index = index_forest(*out.forest, settings.heads.kv_bytes_per_token());
    out.sides[0] = compute_side(settings, SideId::a, *out.forest, given);
    if (settings.compare) {
      out.sides[1] = shows_measurement(settings, given) ? measured_side(settings, out.sides[0], given)
                                                        : compute_side(settings, SideId::b, *out.forest, given);
    }
  } catch (const core::Error& e) {
    out.problem = e.what();
  } catch (const std::bad_alloc&) {
    out.problem = "this batch needs more memory than the machine has";
  }
  return out;
}

void add_sensitivities(Outcome& outcome) {
  for (SideOutcome& side : outcome.sides) {
    if (side.shown() && side.measurement == nullptr) {
      side.explanation.sensitivities = sim::sensitivities(*side.plan, side.device, side.us());
    }
  }
}

void add_ranking(Outcome& outcome, const Given& given, const std::function<bool()>& stop) {
  if (!outcome.settings.rank || outcome.forest == nullptr) return;
  Settings settings = outcome.settings;
  settings.given_plan = settings.compare = false;
  settings.a.options.clear();
  settings.a.cost_model.clear();
  settings.a.edits.clear();
  for (const scheduler::Strategy* strategy : scheduler::strategies()) {
    if (stop && stop()) return;
    settings.a.strategy = strategy->info().name;
    const SideOutcome side = compute_side(settings, SideId::a, *outcome.forest, given);
    RankedStrategy row{settings.a.strategy, side.refusal, 0, 0, 0, 0, 0};
    if (side.shown()) {
      row.us = side.us();
      row.share_of_bound = side.us() > 0 ? side.bound.us / side.us() : 0;
      row.hbm_bytes = static_cast<double>(side.explanation.result.hbm_bytes);
      row.tasks = side.statistics.tasks;
      row.partial_rows = side.statistics.partial_rows;
    }
    outcome.ranking.push_back(std::move(row));
  }
}

Item item_of_violation(const scheduler::Plan& plan, const scheduler::Violation& violation) {
  const std::vector<std::string> words = core::split(violation.sentence, ' ');
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string number = words[i + 1].substr(0, words[i + 1].find_first_of(",.;:)"));
    if (words[i] == "task" || words[i] == "(task") {
      const auto id = core::parse_integer(number);
      if (id && *id >= 0 && *id < static_cast<std::int64_t>(plan.tasks.size())) {
        return {ItemKind::task, static_cast<std::int32_t>(*id)};
      }
    }
    if (words[i] == "request" || words[i] == "(request") {
      const auto& labels = plan.forest.request_label;
      const auto at = std::find(labels.begin(), labels.end(), number);
      if (at != labels.end()) return {ItemKind::request, static_cast<std::int32_t>(at - labels.begin())};
    }
  }
  return {};
}

std::string diff_text(const SideOutcome& side) {
  if (side.unedited == nullptr) return "";
  if (!side.diff.any()) return "the same tasks";
  std::vector<std::string> parts;
  const auto add = [&](std::int64_t count, const char* what) {
    if (count > 0) parts.push_back(fmt::format("{} {}", core::counted(count, "task"), what));
  };
  add(side.diff.only_old, "gone");
  add(side.diff.only_new, "new");
  add(side.diff.moved, "moved");
  return core::join(parts, ", ");
}

std::vector<std::string> verdict_of(const Outcome& outcome) {
  const SideOutcome &a = outcome.sides[0], &b = outcome.sides[1];
  if (!outcome.problem.empty()) return {outcome.problem};
  if (!a.shown()) return {a.refusal};
  if (b.measurement != nullptr) return measured_verdict(a, b);
  if (a.plan->tasks.empty()) return {fmt::format("{} has no tasks: there are no requests, and nothing runs.", a.title)};
  std::vector<std::string> lines;
  const std::string at = value_text(a.us(), Unit::time_us);
  const bool devices_differ = a.device.name != b.device.name;
  const auto name = [&](const SideOutcome& s) {
    return devices_differ && b.shown() ? fmt::format("{} on {}", s.title, s.device.name) : s.title;
  };
  if (b.shown() && a.us() > 0 && b.us() > 0) {
    const double ratio = b.us() / a.us();
    const std::string bt = value_text(b.us(), Unit::time_us);
    if (ratio > 0.97 && ratio < 1.03) {
      lines.push_back(fmt::format("{} and {} are as good: {} and {}, a difference of {:.1f} %.", name(a), name(b), at,
                                  bt, 100 * std::abs(ratio - 1)));
    } else if (ratio > 1) {
      lines.push_back(fmt::format("{} is {:.2f}× as fast as {}: {} instead of {}.", name(a), ratio, name(b), at, bt));
    } else {
      lines.push_back(
          fmt::format("{} is {:.2f}× as fast as {}: {} instead of {}.", name(b), 1 / ratio, name(a), bt, at));
    }
  } else {
    lines.push_back(fmt::format("{} takes {} on {}.", a.title, at, a.device.name));
  }
  if (!b.refusal.empty()) lines.push_back(fmt::format("{}.", b.refusal));
  for (const SideOutcome& side : outcome.sides) {
    if (side.shown() && side.unedited_us > 0 && side.us() > 0) {
      lines.push_back(fmt::format("By hand: {} instead of {} of the strategy's own plan, {:.3f}× as fast; {}.",
                                  value_text(side.us(), Unit::time_us), value_text(side.unedited_us, Unit::time_us),
                                  side.unedited_us / side.us(), diff_text(side)));
    }
  }
  for (const SideOutcome& side : outcome.sides) {
    if (!side.edit_problem.empty()) lines.push_back(fmt::format("Can't be: {}.", side.edit_problem));
  }
  if (a.us() > 0) {
    const std::string where = largest_parts(a.explanation.sm_time);
    lines.push_back(fmt::format("{} reaches {:.0f} % of the lower bound{}.", a.title, 100 * a.bound.us / a.us(),
                                where.empty() ? "" : fmt::format("; SM time: {}", where)));
  }
  return lines;
}

}  // namespace espalier::viz
