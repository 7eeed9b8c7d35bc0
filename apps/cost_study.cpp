#include "apps/cost_study.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "apps/agreement.h"
#include "apps/parallel.h"
#include "apps/terminal.h"
#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "sim/simulator.h"

namespace espalier::apps {
namespace {

/// Mean and worst of what is given.
struct Spread {
  double sum = 0, worst = 0;
  std::size_t count = 0;
  void add(double value) {
    worst = count == 0 ? value : std::max(worst, value);
    sum += value;
    ++count;
  }
  double mean() const { return count == 0 ? 0 : sum / static_cast<double>(count); }
};

/// Equal tasks of one plan.
struct Sample {
  costmodel::TaskShape shape;
  costmodel::KernelConfig kernel;
  double in_place_us = 0, no_hits_us = 0;
};

/// What the plans of one input give.
struct Samples {
  std::vector<Sample> tasks;
  double kv_bytes = 0, hit_bytes = 0;  ///< in place
};

/// A kernel of the plan and a shape.
using TaskClass = std::pair<std::int32_t, costmodel::TaskShape>;

/// Mean times of the plan's attending tasks.
std::map<TaskClass, Spread> task_times(const scheduler::Plan& plan, const scheduler::Timeline& timeline) {
  std::map<TaskClass, Spread> times;
  const auto kernels = scheduler::task_kernels(plan);
  for (const scheduler::Span& span : timeline.spans) {
    if (span.kind != scheduler::SpanKind::task) continue;
    const scheduler::TaskId t(span.item);
    if (plan.tasks[t].kind != scheduler::TaskKind::attend) continue;
    times[{kernels[t].value, scheduler::task_shape(plan, plan.tasks[t])}].add(span.end_us - span.begin_us);
  }
  return times;
}

void add_samples(const scheduler::Plan& plan, const costmodel::DeviceSpec& device, const sim::SimResult& in_place,
                 Samples& samples) {
  sim::SimOptions options;
  options.timeline = true;
  options.reuse = sim::KvReuse::none;
  const auto alone = task_times(plan, sim::simulate(plan, device, options).timeline);
  for (const auto& [key, times] : task_times(plan, in_place.timeline)) {
    const auto same = alone.find(key);
    if (same == alone.end()) continue;  // of a plan with more CTAs than timelines hold
    samples.tasks.push_back(
        {key.second, plan.kernels[scheduler::KernelId(key.first)], times.mean(), same->second.mean()});
  }
  const auto kv_bytes = static_cast<double>(in_place.counts.kv_bytes);
  samples.kv_bytes += kv_bytes;
  samples.hit_bytes += kv_bytes * in_place.l2_hit_fraction;
}

Agreement agreement(const std::vector<double>& estimates, const std::vector<double>& truths) {
  const double scale = best_scale(estimates, truths);
  return {relative_error(estimates, truths), relative_error(estimates, truths, scale), scale,
          kendall_tau(estimates, truths)};
}

StudyFit fit_of(const costmodel::CostModel& model, const Samples& samples) {
  std::vector<double> estimates, in_place, no_hits;
  StudyFit fit;
  for (const Sample& sample : samples.tasks) {
    const costmodel::Cost cost = model.task(sample.shape, sample.kernel);
    fit.extrapolated += cost.extrapolated;
    estimates.push_back(cost.us);
    in_place.push_back(sample.in_place_us);
    no_hits.push_back(sample.no_hits_us);
  }
  fit.samples = samples.tasks.size();
  fit.l2_share = samples.kv_bytes > 0 ? samples.hit_bytes / samples.kv_bytes : 0;
  fit.in_place = agreement(estimates, in_place);
  fit.no_hits = agreement(estimates, no_hits);
  return fit;
}

/// Without the model in brackets.
std::string strategy_name(const Contender& contender, const CompareOptions& options) {
  const std::string name = contender_name(contender, options);
  return name.substr(0, name.find('['));
}

CostStudy study_case(const Input& input, const costmodel::DeviceSpec& device, const CompareOptions& options,
                     const ModelsBySpec& models) {
  CostStudy study;
  Samples samples;
  double best_us = 0;
  for (const Contender& contender : contenders(options)) {
    StudyPlan row{
        input.source, input.snapshot, device.name, strategy_name(contender, options), contender.cost_model, {}, 0, ""};
    const scheduler::PlanResult result = plan_checked(input, contender, options, device, models);
    if (const auto* plan = std::get_if<scheduler::Plan>(&result)) {
      sim::SimOptions sim_options;
      sim_options.timeline = !contender.cost_model.empty();
      const sim::SimResult simulated = sim::simulate(*plan, device, sim_options);
      row.time_us = simulated.makespan_us;
      best_us = best_us == 0 ? *row.time_us : std::min(best_us, *row.time_us);
      if (sim_options.timeline) add_samples(*plan, device, simulated, samples);
    } else {
      row.why = std::get<scheduler::Refusal>(result).sentence;
    }
    if (!contender.cost_model.empty()) study.plans.push_back(std::move(row));
  }
  for (StudyPlan& plan : study.plans) plan.best_us = best_us;
  if (samples.tasks.empty()) return study;
  for (const std::string& spec : options.cost_models) {
    StudyFit fit = fit_of(*models.at(spec), samples);
    fit.input = input.source;
    fit.snapshot = input.snapshot;
    fit.device = device.name;
    fit.cost_model = spec;
    study.fits.push_back(std::move(fit));
  }
  return study;
}

/// One model on one device, over all inputs.
struct ModelSummary {
  Spread error, scaled_error, tau, no_hits_error, no_hits_tau, l2_share, regret;
  std::size_t extrapolated = 0;
  std::map<std::string, Spread> by_strategy;
};

std::map<std::string, ModelSummary> summarise_models(const CostStudy& study, const std::string& device) {
  std::map<std::string, ModelSummary> models;
  for (const StudyFit& fit : study.fits) {
    if (fit.device != device) continue;
    ModelSummary& model = models[fit.cost_model];
    model.error.add(fit.in_place.error);
    model.scaled_error.add(fit.in_place.scaled_error);
    if (fit.in_place.tau) model.tau.add(*fit.in_place.tau);
    model.no_hits_error.add(fit.no_hits.error);
    if (fit.no_hits.tau) model.no_hits_tau.add(*fit.no_hits.tau);
    model.l2_share.add(fit.l2_share);
    model.extrapolated += fit.extrapolated;
  }
  for (const StudyPlan& plan : study.plans) {
    if (plan.device != device || !plan.time_us) continue;
    ModelSummary& model = models[plan.cost_model];
    model.regret.add(*plan.regret());
    model.by_strategy[plan.strategy].add(*plan.regret());
  }
  return models;
}

std::vector<std::string> consumers(const CostStudy& study) {
  std::vector<std::string> names;
  for (const StudyPlan& plan : study.plans) {
    if (std::find(names.begin(), names.end(), plan.strategy) == names.end()) names.push_back(plan.strategy);
  }
  return names;
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }
std::string tau_text(const Spread& tau) { return tau.count == 0 ? "-" : fmt::format("{:.3f}", tau.mean()); }

/// What the agreement of one model says, as cells of render_device()'s table.
std::vector<std::string> agreement_cells(const std::string& spec, const ModelSummary& model) {
  const bool relative = costmodel::cost_model_info(spec).relative, fitted = model.error.count > 0;
  return {spec,
          relative ? "own" : "us",
          relative || !fitted ? "-" : percent(model.error.mean()),
          fitted ? percent(model.scaled_error.mean()) : "-",
          tau_text(model.tau),
          relative || !fitted ? "-" : percent(model.no_hits_error.mean()),
          tau_text(model.no_hits_tau)};
}

/// Why errors in place and without hits differ, or don't.
std::string l2_sentence(const std::map<std::string, ModelSummary>& models) {
  Spread share;  // the same for every model
  for (const auto& [name, model] : models) {
    if (model.l2_share.count > 0) share.add(model.l2_share.mean());
  }
  if (share.count == 0) return "";
  if (share.mean() == 0) return "  in place nothing is found in L2: errors with and without hits are the same\n";
  return fmt::format(
      "  in place {} of the KV that these tasks read is found in L2 because others of the plan have read it; the price "
      "of "
      "one "
      "task\n  takes all of it from HBM, and \"no hits\" times the tasks so\n",
      percent(share.mean()));
}

std::string render_device(const CostStudy& study, const CompareOptions& options, const std::string& device) {
  const std::map<std::string, ModelSummary> models = summarise_models(study, device);
  const std::vector<std::string> strategies = consumers(study);
  std::vector<std::string> headings = {"cost model", "unit",           "error",       "error, best scale",
                                       "rank tau",   "error, no hits", "tau, no hits"};
  for (const std::string& strategy : strategies) headings.push_back("regret " + strategy), headings.push_back("worst");
  std::vector<Align> align(headings.size(), Align::right);
  align[0] = align[1] = Align::left;
  Table table(headings, align);
  std::vector<std::pair<double, std::string>> order;  // by mean regret over all consuming strategies
  for (const std::string& spec : options.cost_models) {
    const auto found = models.find(spec);
    const ModelSummary model = found == models.end() ? ModelSummary{} : found->second;
    std::vector<std::string> cells = agreement_cells(spec, model);
    for (const std::string& strategy : strategies) {
      const auto regret = model.by_strategy.find(strategy);
      const bool any = regret != model.by_strategy.end();
      cells.push_back(any ? percent(regret->second.mean()) : "refused");
      cells.push_back(any ? percent(regret->second.worst) : "-");
    }
    table.row(std::move(cells));
    if (model.regret.count > 0) order.emplace_back(model.regret.mean(), spec);
  }
  std::string text = fmt::format("{}, {}\n{}", device, options.heads.text, table.finish());
  text += l2_sentence(models);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  if (!order.empty()) {
    text += fmt::format("  least regret: {} ({} on average)\n", order.front().second, percent(order.front().first));
  }
  for (const auto& [name, model] : models) {
    if (model.extrapolated > 0) {
      text += fmt::format("  {}: {} of its estimates are extrapolated\n", name, model.extrapolated);
    }
  }
  return text;
}

constexpr std::string_view kLegend =
    "error: mean |estimate - simulated time| / simulated time of the tasks of all plans made here; equal tasks of a "
    "plan count once.\n"
    "Models in units of their own have none as they stand; \"best scale\" is after the one factor a model and input "
    "that suits it best.\n"
    "rank tau: Kendall's tau-b between estimates and times. no hits: against the same tasks of the same plans, all "
    "KV read from HBM.\n"
    "regret: slow-down of the plan made with the model against the best plan of the input over all models and "
    "strategies compared.\n"
    "Means over inputs.\n";

void optional_field(core::JsonWriter& w, std::string_view key, const std::optional<double>& value) {
  if (value) {
    w.field(key, *value);
  } else {
    w.key(key).null();
  }
}

void write_agreement(core::JsonWriter& w, const Agreement& agreement, bool relative) {
  optional_field(w, "error", relative ? std::nullopt : std::optional(agreement.error));
  w.field("scaled_error", agreement.scaled_error).field("scale", agreement.scale);
  optional_field(w, "kendall_tau", agreement.tau);
}

}  // namespace

CostStudy study_cost_models(const std::vector<Input>& inputs, const CompareOptions& options) {
  const std::vector<Contender> all = contenders(options);
  if (std::all_of(all.begin(), all.end(), [](const Contender& c) { return c.cost_model.empty(); })) {
    throw core::usage_error("--study cost-models: none of the strategies consumes a cost model");
  }
  std::vector<ModelsBySpec> models;
  for (const costmodel::DeviceSpec& device : options.devices) models.push_back(make_models(options, device));
  std::vector<CostStudy> by_case(inputs.size() * options.devices.size());
  for_each_case("studying", by_case.size(), options.jobs, [&](std::size_t i) {
    const std::size_t d = i % options.devices.size();
    by_case[i] = study_case(inputs[i / options.devices.size()], options.devices[d], options, models[d]);
  });
  CostStudy study;
  for (CostStudy& some : by_case) {
    std::move(some.plans.begin(), some.plans.end(), std::back_inserter(study.plans));
    std::move(some.fits.begin(), some.fits.end(), std::back_inserter(study.fits));
  }
  return study;
}

std::string render_study(const CostStudy& study, const CompareOptions& options) {
  std::string text;
  for (const costmodel::DeviceSpec& device : options.devices) text += render_device(study, options, device.name) + "\n";
  return text + std::string(kLegend);
}

std::string write_study(const CostStudy& study, const std::string& command) {
  core::JsonWriter w;
  w.begin_object().field("schema", "cost_study/1");
  w.key("environment").begin_object();
  w.field("program", "espalier " ESPALIER_VERSION).field("command", command).field("times", "simulated").end_object();
  w.key("fits").begin_array();
  for (const StudyFit& fit : study.fits) {
    const bool relative = costmodel::cost_model_info(fit.cost_model).relative;
    w.begin_object().field("input", fit.input).field("snapshot", fit.snapshot).field("device", fit.device);
    w.field("cost_model", fit.cost_model).field("relative", relative);
    w.field("samples", static_cast<std::int64_t>(fit.samples))
        .field("extrapolated", static_cast<std::int64_t>(fit.extrapolated));
    write_agreement(w, fit.in_place, relative);
    w.field("l2_share", fit.l2_share).key("no_hits").begin_object();
    write_agreement(w, fit.no_hits, relative);
    w.end_object();
    w.end_object();
  }
  w.end_array().key("plans").begin_array();
  for (const StudyPlan& plan : study.plans) {
    w.begin_object().field("input", plan.input).field("snapshot", plan.snapshot).field("device", plan.device);
    w.field("strategy", plan.strategy)
        .field("cost_model", plan.cost_model)
        .field("status", plan.time_us ? "ok" : "refused");
    optional_field(w, "time_us", plan.time_us);
    optional_field(w, "best_us", plan.best_us > 0 ? std::optional(plan.best_us) : std::nullopt);
    optional_field(w, "regret", plan.regret());
    w.field("why", plan.why).end_object();
  }
  return w.end_array().end_object().finish();
}

}  // namespace espalier::apps
