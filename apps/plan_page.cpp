#include "apps/plan_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/html_text.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"
#include "scheduler/plan_statistics.h"
#include "scheduler/strategy.h"
#include "traces/families.h"
#include "traces/import.h"
#include "viz/model/time_split.h"
#include "viz/picture/pictures.h"
#include "viz/scene/svg.h"

namespace espalier::apps {
namespace {

constexpr double kWidth = 1072;
constexpr std::int64_t kMostBoxes = 6000;

std::string figures_html(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                         const sim::SimResult& result) {
  const double bound_us = scheduler::lower_bound(plan.forest, plan.heads, device).us;
  const scheduler::PlanStatistics statistics = scheduler::statistics(plan);
  std::string out = fmt::format(
      "<p class=\"verdict\">{} takes {} on {}{}.</p>\n<ul class=\"reasons\">", html_text(plan.provenance.strategy),
      html_time(result.makespan_us), html_text(device.name),
      result.makespan_us > 0 ? fmt::format(", {:.0f} % of the lower bound", 100 * bound_us / result.makespan_us) : "");
  for (const std::string& why : plan.provenance.why) out += "<li>" + html_text(why) + "</li>";
  out += fmt::format("<li>{} tasks, {} partial rows a head, {} HBM traffic</li>", core::count_text(statistics.tasks),
                     core::count_text(statistics.partial_rows), core::bytes_text(result.hbm_bytes));
  return out + "</ul>\n";
}

std::string pictures_html(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                          const sim::Explanation& explanation) {
  const sim::SimResult& result = explanation.result;
  const std::int64_t bytes = plan.heads.kv_bytes_per_token();
  const double end_us = std::max(result.makespan_us, 1e-3);
  const viz::PictureSize plane{kWidth, 220, false, true, kMostBoxes};
  std::string out = "<h3>Forest</h3><p class=\"remark\">across: requests; down: tokens</p>\n" +
                    viz::html_fragment(viz::forest_picture(plan.forest, bytes, plane));
  out += html_legend("KV bytes that reading once saves:", viz::saving_scale(plan.forest, bytes).legend());
  out += "<h3>Who reads what</h3><p class=\"remark\">each box a task's share of the forest</p>\n" +
         viz::html_fragment(viz::cover_picture(plan, plane));
  out += "<h3>Timeline</h3><p class=\"remark\">SMs over time; below: HBM bandwidth</p>\n" +
         viz::html_fragment(viz::timeline_picture(plan, result, end_us, {kWidth, 220, false, true, kMostBoxes}));
  out += viz::html_fragment(viz::bandwidth_picture(result, end_us, device, {kWidth, 56, false, false}));
  out += html_legend("queries served by one read:", viz::timeline_legend(plan, result));
  out += "<h3>Where SM time goes</h3>\n" +
         viz::html_fragment(viz::split_picture(explanation.sm_time, {kWidth, 0, false, true}));
  out += "<table class=\"list\">";
  for (const viz::SplitPart& part : viz::time_split(explanation.sm_time)) {
    if (part.share >= 0.0005) {
      out += fmt::format("<tr><td>{}</td><td>{}</td><td class=\"n\">{:.1f} %</td></tr>\n", part.name, part.note,
                         100 * part.share);
    }
  }
  return out + "</table>\n";
}

/// The batch as a command line names it: a tree or a family says itself; empty where it came from a file.
std::string input_option(const scheduler::Plan& plan) {
  const std::string& name = plan.forest.name;
  try {
    const std::size_t at = name.rfind('@');  // families are named with their seed
    const std::string spec = name.substr(0, at), family = spec.substr(0, spec.find(':'));
    const auto seed =
        static_cast<std::uint64_t>(at == std::string::npos ? static_cast<std::int64_t>(plan.provenance.seed)
                                                           : core::parse_integer(name.substr(at + 1)).value_or(0));
    const auto& families = traces::families();
    const bool known =
        std::any_of(families.begin(), families.end(), [&](const traces::Family& f) { return f.name == family; });
    if (known && traces::forest_hash(traces::generate_family(spec, seed)) == traces::forest_hash(plan.forest)) {
      return fmt::format("--family {} --seed {}", core::shell_quoted(spec), seed);
    }
    if (name.find('|') != std::string::npos &&
        traces::forest_hash(traces::parse_tree(name)) == traces::forest_hash(plan.forest)) {
      return fmt::format("--tree {}", core::shell_quoted(name));
    }
  } catch (const core::Error&) {  // a name like one of ours
  }
  return "";
}

bool made_by_hand(const scheduler::Provenance& from) {
  return std::any_of(from.why.begin(), from.why.end(),
                     [](const std::string& why) { return why.starts_with("by hand"); });
}

/// Whether the strategy takes all options that the plan was made with: some, like a choice of kernels, aren't its own.
bool takes_options(const scheduler::Provenance& from) {
  const auto& all = scheduler::strategies();
  const auto strategy = std::find_if(all.begin(), all.end(),
                                     [&](const scheduler::Strategy* s) { return s->info().name == from.strategy; });
  if (strategy == all.end()) return false;
  const std::vector<scheduler::StrategyOption> options = scheduler::all_options((*strategy)->info());
  return std::all_of(from.options.begin(), from.options.end(), [&](const auto& given) {
    return std::any_of(options.begin(), options.end(),
                       [&](const scheduler::StrategyOption& o) { return o.name == given.first; });
  });
}

}  // namespace

bool names_known_device(const std::string& name) {
  const auto& catalog = costmodel::device_catalog();
  return std::any_of(catalog.begin(), catalog.end(),
                     [base = name.substr(0, name.find(':'))](const auto& d) { return d.name == base; });
}

std::string plan_command(const scheduler::Plan& plan, const std::string& file) {
  const scheduler::Provenance& from = plan.provenance;
  const std::string hash = core::hash_text(plan.hash);
  const std::string input = input_option(plan);
  if (input.empty() || made_by_hand(from) || !takes_options(from) || !names_known_device(from.device)) {
    return fmt::format("# {}: plan {}, which only its file holds\n", file, hash);
  }
  std::vector<std::string> options;
  for (const auto& [name, value] : from.options) options.push_back(fmt::format("{}={}", name, value));
  const std::string spec = options.empty() ? from.strategy : from.strategy + ":" + core::join(options, ",");
  std::string command =
      fmt::format("espalier plan {} --heads {}", input, core::shell_quoted(traces::heads_text(plan.heads)));
  if (plan.heads.kv_dtype != traces::Dtype::bf16) {
    command += fmt::format(" --dtype {}", traces::dtype_name(plan.heads.kv_dtype));
  }
  command += fmt::format(" --device {} --strategy {}", core::shell_quoted(from.device), core::shell_quoted(spec));
  if (!from.cost_model.empty()) command += fmt::format(" --cost-model {}", core::shell_quoted(from.cost_model));
  if (from.kernels == "published") command += " --kernels published";
  return command + fmt::format(" -o {}   # plan {}\n", file, hash);
}

std::string helps_html(const sim::Explanation& explanation, const std::string& name) {
  std::vector<sim::Sensitivity> all = explanation.sensitivities;
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.gain > b.gain; });
  std::string out = fmt::format("<h3>What would help{}</h3>", name.empty() ? "" : " " + html_text(name)) +
                    "<p class=\"remark\">the same plan simulated with one thing changed</p><table class=\"list\">";
  for (const sim::Sensitivity& s : all) {
    if (!s.why_not.empty() || std::abs(s.gain) < 0.0005) continue;
    out +=
        fmt::format("<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{} %</td></tr>\n", html_text(s.change),
                    html_time(s.makespan_us), (s.gain < 0 ? "−" : "+") + fmt::format("{:.1f}", 100 * std::abs(s.gain)));
  }
  return out + "</table>\n";
}

std::string page_head(const std::string& title) {
  return "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
         "content=\"width=device-width, initial-scale=1\">\n<title>" +
         html_text(title) + " · Espalier</title>\n<style>" + page_css() + "</style></head>\n<body>\n<h1>" +
         html_text(title) + "</h1>\n<section class=\"only\">\n";
}

std::string plan_page(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                      const sim::Explanation& explanation) {
  const std::string title = plan.provenance.strategy + " on " + device.name;
  std::string out = page_head(title);
  out += figures_html(plan, device, explanation.result) + pictures_html(plan, device, explanation) +
         helps_html(explanation);
  return out + fmt::format(
                   "</section>\n<footer><p class=\"remark\">{}; heads {}; plan {}. All times are simulated, none is "
                   "measured.</p></footer>\n</body></html>\n",
                   html_text(plan.forest.name), html_text(traces::heads_text(plan.heads)), core::hash_text(plan.hash));
}

}  // namespace espalier::apps
