#include "apps/exports.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "apps/pair_page.h"
#include "apps/plan_page.h"
#include "core/error.h"
#include "core/text.h"
#include "scheduler/plan_graph.h"
#include "scheduler/trace_events.h"
#include "viz/model/tables.h"
#include "viz/model/timeline_layout.h"
#include "viz/picture/pictures.h"
#include "viz/scene/svg.h"
#ifdef ESPALIER_HAS_EXPLORER
#include "viz/ui/scene_image.h"
#endif

namespace espalier::apps {
namespace {

std::optional<viz::Theme> choose_theme(const std::string& name) {
  if (name == "light") return viz::Theme::light;
  if (name == "dark") return viz::Theme::dark;
  if (name != "auto") throw core::usage_error(core::unknown_name("theme", name, {"auto", "light", "dark"}));
  return std::nullopt;
}

#ifdef ESPALIER_HAS_EXPLORER
std::string png(const viz::Scene& scene, const ExportOptions& options) {
  if (options.font != "best" && options.font != "builtin") {
    throw core::usage_error(core::unknown_name("font", options.font, {"best", "builtin"}));
  }
  const viz::Face face = options.font == "best" ? viz::Face::best : viz::Face::builtin;
  return viz::write_png(
      viz::scene_image(scene, choose_theme(options.theme).value_or(viz::Theme::light), options.scale, face));
}
#else
std::string png(const viz::Scene&, const ExportOptions&) {
  throw core::usage_error(
      "this espalier was built without the explorer, which draws PNG: install libimgui-dev and libpng-dev and build "
      "again, or export svg");
}
#endif

std::string table_of(const scheduler::Plan& plan, const sim::SimResult& result, const std::string& table) {
  if (table.empty() || table == "tasks") return viz::write_csv(viz::task_table(plan, result));
  if (table == "nodes") return viz::write_csv(viz::node_table(plan.forest, plan.heads.kv_bytes_per_token(), &plan));
  if (table == "requests") return viz::write_csv(viz::request_table(plan.forest, &plan, &result));
  throw core::usage_error(core::unknown_name("table", table, {"tasks", "nodes", "requests"}));
}

}  // namespace

const std::vector<std::string>& export_formats() {
  static const std::vector<std::string> kFormats = {"svg", "png", "html", "csv", "perfetto", "dot"};
  return kFormats;
}

void check_theme(const std::string& name) { (void)choose_theme(name); }

std::string export_plan(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                        const ExportOptions& options) {
  if (options.format == "plan") return scheduler::write_plan(plan);
  if (options.format == "dot") return scheduler::graphviz(plan);
  sim::SimOptions with_timeline;
  with_timeline.timeline = true;
  if (options.format == "html" || options.format == "svg" || options.format == "png") {
    with_timeline.max_spans = viz::kMostSpans;
  }
  if (options.format == "html") return plan_page(plan, device, sim::explain(plan, device, with_timeline));
  const sim::Explanation run = sim::explain_run(plan, device, with_timeline);
  if (options.format == "svg") {
    return viz::svg_document(viz::plan_document(plan, device, run), choose_theme(options.theme));
  }
  if (options.format == "png") return png(viz::plan_document(plan, device, run), options);
  if (options.format == "csv") return table_of(plan, run.result, options.table);
  if (options.format == "perfetto") return scheduler::write_trace_events(run.result.timeline, plan);
  throw core::usage_error(core::unknown_name("export format", options.format, export_formats()));
}

std::string export_pair(const PlanOnDevice& a, const PlanOnDevice& b, const std::string& format) {
  sim::SimOptions options;
  options.timeline = true;
  if (format == "html") options.max_spans = viz::kMostSpans;
  if (format != "html" && format != "perfetto") {
    throw core::usage_error(core::unknown_name("export format of two plans", format, {"html", "perfetto"}));
  }
  sim::Explanation of_a = sim::explain_run(a.plan, a.device, options),
                   of_b = sim::explain_run(b.plan, b.device, options);
  if (format == "html") {
    const bool a_wins = of_a.result.makespan_us <= of_b.result.makespan_us;
    const PlanOnDevice& winner = a_wins ? a : b;
    sim::Explanation& of_winner = a_wins ? of_a : of_b;
    of_winner.sensitivities = sim::sensitivities(winner.plan, winner.device, of_winner.result.makespan_us);
    return pair_page({a.plan, a.device, of_a}, {b.plan, b.device, of_b});
  }
  const std::string name_a = fmt::format("A {}", a.plan.provenance.strategy),
                    name_b = fmt::format("B {}", b.plan.provenance.strategy);
  const scheduler::TracedRun runs[] = {{name_a, &of_a.result.timeline, &a.plan},
                                       {name_b, &of_b.result.timeline, &b.plan}};
  return scheduler::write_trace_events(runs);
}

std::string export_forest(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                          const ExportOptions& options) {
  if (options.format == "svg") {
    return viz::svg_document(viz::forest_document(forest, heads), choose_theme(options.theme));
  }
  if (options.format == "png") return png(viz::forest_document(forest, heads), options);
  if (options.table == "requests") return viz::write_csv(viz::request_table(forest, nullptr, nullptr));
  if (options.table.empty() || options.table == "nodes") {
    return viz::write_csv(viz::node_table(forest, heads.kv_bytes_per_token(), nullptr));
  }
  throw core::usage_error(core::unknown_name("table of a forest", options.table, {"nodes", "requests"}));
}

}  // namespace espalier::apps
