// One (input, device) of the page: verdict, ranking, forest, tiles, timelines on one scale, where the time goes, what
// would help.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/html_report.h"
#include "apps/html_text.h"
#include "core/text.h"
#include "viz/model/time_split.h"
#include "viz/picture/pictures.h"
#include "viz/scene/svg.h"

namespace espalier::apps {
namespace {

constexpr double kPageWidth = 1072, kHalfWidth = 522;

std::string percent(double share, int decimals) { return fmt::format("{:.{}f} %", 100 * share, decimals); }

std::string verdict_html(const ReportSection& section, const CompareOptions& options) {
  const std::vector<std::string> lines = verdict(section.block.summaries, options);
  std::string first = lines.front();
  if (!first.empty() && first.front() >= 'a' && first.front() <= 'z') {
    first.front() = static_cast<char>(first.front() - 'a' + 'A');
  }
  std::string out = "<p class=\"verdict\">" + html_text(first) + "</p>\n<ul class=\"reasons\">";
  for (std::size_t i = 1; i < lines.size(); ++i) out += "<li>" + html_text(lines[i]) + "</li>";
  return out + "</ul>\n";
}

/// Ranked bars; the dashed mark of each is what the lower bound would take.
std::string ranking_html(const ReportSection& section) {
  std::vector<const Summary*> served, refused;
  for (const Summary& s : section.block.summaries) (s.served() > 0 ? served : refused).push_back(&s);
  double longest = 0;
  for (const Summary* s : served) longest = std::max(longest, s->time_us);
  std::string out =
      "<h3>Time a layer</h3><p class=\"remark\">shorter is better; dashed: the lower bound of any "
      "plan</p><table><tr><th></th><th></th>"
      "<th class=\"n\">time</th><th class=\"n\">vs flash</th><th class=\"n wide\">of bound</th><th class=\"n "
      "wide\">HBM</th>"
      "<th class=\"wide\">bound by</th></tr>\n";
  for (const Summary* s : served) {
    const bool best = s == &section.block.best();
    const double bound = s->time_us * s->share_of_bound / std::max(longest, 1e-12);
    out += fmt::format(
        "<tr{}><td>{}{}</td><td class=\"w\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n "
        "wide\">{}</td>"
        "<td class=\"n wide\">{}</td><td class=\"wide\">{}</td></tr>\n",
        best ? " class=\"best\"" : "", html_name(s->strategy),
        s->complete() ? ""
                      : fmt::format(" <span class=\"p{}\">({} of {})</span>", static_cast<int>(viz::Paint::muted),
                                    s->served(), s->snapshots),
        html_bar(s->time_us / std::max(longest, 1e-12), best ? viz::Paint::hbm : viz::Paint::step2, bound),
        html_time(s->time_us), s->speedup ? fmt::format("{:.2f}×", *s->speedup) : "–", percent(s->share_of_bound, 0),
        core::bytes_text(static_cast<std::int64_t>(s->hbm_bytes)), html_text(s->bound_by));
  }
  out += "</table>\n";
  if (refused.empty()) return out;
  out += fmt::format("<details><summary>{} can't serve this</summary><ul class=\"reasons\">",
                     refused.size() == 1 ? "one more strategy" : fmt::format("{} more strategies", refused.size()));
  for (const Summary* s : refused) out += "<li>" + html_text(s->strategy) + ": " + html_text(s->why) + "</li>";
  return out + "</ul></details>\n";
}

std::string forest_html(const ReportSection& section, const SectionDetail& detail) {
  const scheduler::Plan& plan = section.best->plan;
  const std::int64_t bytes = plan.heads.kv_bytes_per_token();
  viz::PictureSize size{kPageWidth, 210, false, detail.titles, detail.max_boxes};
  const double deepest = viz::whole_forest(plan.forest, 1, 1).tokens;
  std::string out =
      fmt::format("<h3>Forest{}</h3><p class=\"remark\">across: {}; down: {} tokens</p>\n",
                  section.block.best().snapshots > 1 ? fmt::format(" of snapshot {}", section.best->row->snapshot) : "",
                  core::counted(static_cast<std::int64_t>(plan.forest.request_count()), "request"), deepest);
  out += viz::html_fragment(viz::forest_picture(plan.forest, bytes, size));
  out += html_legend("KV bytes that reading once saves:", viz::saving_scale(plan.forest, bytes).legend());
  out +=
      "<h3>Who reads what</h3><p class=\"remark\">each box a task's share of the forest; strong colour: one read "
      "serves many queries</p><div class=\"pair\">\n";
  size.width = kHalfWidth;
  size.height = 170;
  for (const auto* row : {&section.best, &section.other}) {
    if (!*row) continue;
    out += "<div><h4>" + html_text((*row)->row->strategy) + "</h4>" +
           viz::html_fragment(viz::cover_picture((*row)->plan, size)) + "</div>\n";
  }
  return out + "</div>\n";
}

std::string timelines_html(const ReportSection& section, const costmodel::DeviceSpec& device,
                           const SectionDetail& detail) {
  double end_us = 1e-3;
  for (const auto* row : {&section.best, &section.other}) {
    if (*row) end_us = std::max(end_us, (*row)->explanation.result.makespan_us);
  }
  std::string out = fmt::format(
      "<h3>Timelines</h3><p class=\"remark\">the {:.0f} SMs on one time scale; fainter: not all CTA slots of an SM "
      "taken; below: HBM bandwidth</p>\n",
      device.sms);
  std::vector<viz::LegendEntry> legend;
  for (const auto* row : {&section.best, &section.other}) {
    if (!*row) continue;
    const sim::SimResult& result = (*row)->explanation.result;
    const viz::PictureSize size{kPageWidth, 186, false, detail.titles, detail.max_boxes};
    out += "<h4>" + html_text((*row)->row->strategy) + ", " + html_time(result.makespan_us) + "</h4>" +
           viz::html_fragment(viz::timeline_picture((*row)->plan, result, end_us, size));
    out += viz::html_fragment(viz::bandwidth_picture(result, end_us, device, {kPageWidth, 56, false, false}));
    const std::vector<viz::LegendEntry> more = viz::timeline_legend((*row)->plan, result);
    for (const viz::LegendEntry& entry : more) {
      const bool known =
          std::any_of(legend.begin(), legend.end(), [&](const auto& l) { return l.paint == entry.paint; });
      if (!known) legend.push_back(entry);
    }
  }
  std::stable_sort(legend.begin(), legend.end(), [](const auto& a, const auto& b) { return a.paint < b.paint; });
  return out + html_legend("queries served by one read:", legend);
}

std::string split_html(const ReportSection& section) {
  std::string out =
      "<h3>Where SM time goes</h3><p class=\"remark\">SMs × time; an SM works, waits for memory, or is empty for a "
      "reason</p>\n";
  std::vector<std::vector<viz::SplitPart>> columns;
  std::string head = "<tr><th></th>";
  for (const auto* row : {&section.best, &section.other}) {
    if (!*row) continue;
    columns.push_back(viz::time_split((*row)->explanation.sm_time));
    head += "<th class=\"n\">" + html_text((*row)->row->strategy) + "</th>";
    out += "<h4>" + html_text((*row)->row->strategy) + "</h4>" +
           viz::html_fragment(viz::split_picture((*row)->explanation.sm_time, {kPageWidth, 0, false, true}));
  }
  std::vector<viz::LegendEntry> legend;
  std::string table;
  for (std::size_t p = 0; p < columns.front().size(); ++p) {
    const viz::SplitPart& part = columns.front()[p];
    double largest = 0;
    for (const auto& column : columns) largest = std::max(largest, column[p].share);
    if (largest >= 0.0005) legend.push_back({part.paint, part.name});
    table += "<tr><td>" + part.name + " <span class=\"wide p" + std::to_string(static_cast<int>(viz::Paint::muted)) +
             "\">" + part.note + "</span></td>";
    for (const auto& column : columns) table += "<td class=\"n\">" + percent(column[p].share, 1) + "</td>";
    table += "</tr>\n";
  }
  return out + html_legend("", legend) + "<details><summary>in numbers</summary><table class=\"list\">" + head +
         "</tr>\n" + table + "</table></details>\n";
}

std::string sensitivities_html(const ExplainedRow& row) {
  std::vector<sim::Sensitivity> all = row.explanation.sensitivities;
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.gain > b.gain; });
  double largest = 0.01;
  for (const sim::Sensitivity& s : all) largest = std::max(largest, std::abs(s.gain));
  std::string out = "<h3>What would help " + html_text(row.row->strategy) +
                    "</h3><p class=\"remark\">the same plan simulated with one thing changed; bar: time "
                    "saved</p><table><tr><th></th><th></th>"
                    "<th class=\"n\">time</th><th class=\"n\">saves</th></tr>\n";
  std::string same;
  for (const sim::Sensitivity& s : all) {
    if (!s.why_not.empty() || std::abs(s.gain) < 0.0005) {
      same += (same.empty() ? "" : ", ") + s.change + (s.why_not.empty() ? "" : " (can't be: " + s.why_not + ")");
      continue;
    }
    out += fmt::format(
        "<tr><td>{}</td><td class=\"w\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}{:.1f} %</td></tr>\n",
        html_text(s.change), html_bar(std::abs(s.gain) / largest, s.gain > 0 ? viz::Paint::merge : viz::Paint::tail),
        html_time(s.makespan_us), s.gain < 0 ? "−" : "", 100 * std::abs(s.gain));
  }
  out += "</table>\n";
  return same.empty() ? out : out + "<p class=\"remark\">no effect: " + html_text(same) + "</p>\n";
}

}  // namespace

std::string render_section(const ReportSection& section, const CompareOptions& options, const SectionDetail& detail) {
  const Summary& best = section.block.best();
  const costmodel::DeviceSpec& device = options.devices[section.device];
  std::string out = fmt::format(
      "<h2>{} on {}</h2>\n<p class=\"remark\">heads {}, {} kernels{}, dedupe {:.2f}</p>\n", html_text(best.input),
      html_text(device.name), html_text(options.heads.text),
      options.kernels == scheduler::KernelSet::ours ? "our" : "published",
      best.snapshots > 1 ? fmt::format(", {} snapshots (mean times, geometric mean ratios)", best.snapshots) : "",
      best.dedupe);
  out += verdict_html(section, options) + ranking_html(section);
  if (!section.best) return out;
  out += forest_html(section, detail) + timelines_html(section, device, detail) + split_html(section) +
         sensitivities_html(*section.best);
  return out;
}

}  // namespace espalier::apps
