#include "apps/html_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/html_text.h"
#include "apps/parallel.h"
#include "core/text.h"
#include "viz/model/timeline_layout.h"

namespace espalier::apps {
namespace {

constexpr std::size_t kMostBytes = std::size_t{4} << 20U;
/// Pages with more sections leave tooltips out.
constexpr std::size_t kTitledSections = 4;

ExplainedRow explain_row(const ReportRow& row, const std::vector<Input>& inputs, const CompareOptions& options,
                         const costmodel::DeviceSpec& device) {
  ExplainedRow out{&row, plan_again(row, inputs, options), {}};
  sim::SimOptions sim_options;
  sim_options.timeline = true;
  sim_options.max_spans = viz::kMostSpans;
  out.explanation = sim::explain(out.plan, device, sim_options);
  return out;
}

/// The row of a strategy on one snapshot, if it was served.
const ReportRow* find_row(const std::vector<ReportRow>& rows, const ReportRow& like, const std::string& strategy) {
  for (const ReportRow& row : rows) {
    const bool same = row.input == like.input && row.device == like.device && row.snapshot == like.snapshot &&
                      row.strategy == strategy;
    if (same && row.status == RowStatus::ok) return &row;
  }
  return nullptr;
}

/// What the best is compared with: flash_decoding, or the next best where that is the best or isn't there.
const ReportRow* other_row(const std::vector<ReportRow>& rows, const RankedBlock& block, const ReportRow& best) {
  if (best.strategy != "flash_decoding") {
    if (const ReportRow* flat = find_row(rows, best, "flash_decoding")) return flat;
  }
  for (const Summary& s : block.summaries) {
    const ReportRow* row = s.strategy == best.strategy ? nullptr : find_row(rows, best, s.strategy);
    if (row != nullptr) return row;
  }
  return nullptr;
}

ReportSection make_section(RankedBlock block, const std::vector<Input>& inputs, const std::vector<ReportRow>& rows,
                           const CompareOptions& options) {
  ReportSection section;
  const Summary& best = block.best();
  section.device =
      static_cast<std::size_t>(std::find_if(options.devices.begin(), options.devices.end(),
                                            [&](const costmodel::DeviceSpec& d) { return d.name == best.device; }) -
                               options.devices.begin());
  const ReportRow* longest = nullptr;
  for (const ReportRow& row : rows) {
    if (row.input != best.input || row.device != best.device || row.strategy != best.strategy ||
        row.status != RowStatus::ok) {
      continue;
    }
    if (longest == nullptr || *row.time_us > *longest->time_us) longest = &row;
  }
  if (longest != nullptr) {
    const costmodel::DeviceSpec& device = options.devices[section.device];
    section.best = explain_row(*longest, inputs, options, device);
    if (const ReportRow* other = other_row(rows, block, *longest)) {
      section.other = explain_row(*other, inputs, options, device);
    }
  }
  section.block = std::move(block);
  return section;
}

std::string overall_html(const Overall& all) {
  std::string out =
      fmt::format("<section class=\"only\"><h2>All {} inputs on {}</h2>\n", all.inputs, html_text(all.device));
  const Standing& first = all.ranked.front();
  if (first.served == 0) return out + "<p class=\"verdict\">No strategy serves any of them.</p></section>\n";
  out += fmt::format(
      "<p class=\"verdict\">{} is the best of {} on the whole: on average {} the best of each input, at worst {:.2f}× "
      "({}).</p>\n",
      html_text(first.strategy), core::counted(static_cast<std::int64_t>(all.ranked.size()), "contender"),
      first.mean() < 1.0005 ? "as fast as" : fmt::format("{:.1f} % behind", 100 * (first.mean() - 1)), first.worst,
      html_text(first.worst_input));
  out += "<ul class=\"reasons\">";
  for (const std::string& sentence : all.sentences) out += "<li>" + html_text(sentence) + "</li>";
  out +=
      "</ul>\n<h3>Behind the best of each input</h3><p class=\"remark\">geometric mean of time over the best time, "
      "each input counts once; bar: what is lost</p><table><tr><th></th>"
      "<th></th><th class=\"n\">mean</th><th class=\"n\">at worst</th><th class=\"n wide\">best on</th><th class=\"n "
      "wide\">serves</th></tr>\n";
  double largest = 1.01;
  for (const Standing& s : all.ranked) largest = std::max(largest, s.served > 0 ? s.mean() : 1);
  for (const Standing& s : all.ranked) {
    if (s.served == 0) {
      out += fmt::format(
          "<tr><td>{}</td><td class=\"w\"></td><td class=\"n\">–</td><td class=\"n\">–</td><td class=\"n "
          "wide\">0</td><td class=\"n wide\">0</td></tr>\n",
          html_text(s.strategy));
      continue;
    }
    out += fmt::format(
        "<tr{}><td>{}</td><td class=\"w\">{}</td><td class=\"n\">{:.3f}×</td><td class=\"n\">{:.2f}×</td><td class=\"n "
        "wide\">{}</td><td class=\"n wide\">{}</td></tr>\n",
        &s == &first ? " class=\"best\"" : "", html_name(s.strategy),
        html_bar((s.mean() - 1) / (largest - 1), &s == &first ? viz::Paint::hbm : viz::Paint::step2), s.mean(), s.worst,
        s.wins, s.served);
  }
  return out + "</table></section>\n";
}

/// Where to find each input of the page, with its result.
std::string index_html(const std::vector<ReportSection>& sections, bool devices) {
  std::string out =
      "<section><h2>Inputs</h2><table class=\"list\"><tr><th>input</th><th>best</th><th class=\"n\">time</th><th "
      "class=\"n\">vs flash</th>"
      "<th class=\"n wide\">dedupe</th><th class=\"n wide\">of bound</th></tr>\n";
  for (std::size_t i = 0; i < sections.size(); ++i) {
    const Summary& best = sections[i].block.best();
    const bool served = best.served() > 0;
    out += fmt::format(
        "<tr><td><a href=\"#{}\">{}</a> <span class=\"p{}\">{}</span></td><td>{}</td><td class=\"n\">{}</td><td "
        "class=\"n\">{}</td>"
        "<td class=\"n wide\">{:.2f}</td><td class=\"n wide\">{}</td></tr>\n",
        section_anchor(i), html_name(best.input), static_cast<int>(viz::Paint::muted),
        devices ? html_text(best.device) : "", served ? html_name(best.strategy) : "none",
        served ? html_time(best.time_us) : "–", best.speedup ? fmt::format("{:.2f}×", *best.speedup) : "–", best.dedupe,
        served ? fmt::format("{:.0f} %", 100 * best.share_of_bound) : "–");
  }
  return out + "</table></section>\n";
}

std::string page(const std::vector<ReportSection>& sections, const std::vector<Overall>& totals,
                 const CompareOptions& options, const std::string& command, const SectionDetail& detail) {
  const bool single = sections.size() == 1;
  const Summary& first = sections.front().block.best();
  const std::string title =
      single ? first.input + " on " + first.device : fmt::format("{} inputs and devices", sections.size());
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\">\n<title>" +
      html_text(title) + " · Espalier</title>\n<style>" + page_css() +
      "</style></head>\n<body>\n<h1>Espalier: who reads which KV, when?</h1>\n";
  if (!single) {
    for (const Overall& all : totals) out += overall_html(all);
    out += index_html(sections, options.devices.size() > 1);
  }
  for (std::size_t i = 0; i < sections.size(); ++i) {
    out += fmt::format("<section id=\"{}\"{}>\n{}</section>\n", section_anchor(i), single ? " class=\"only\"" : "",
                       render_section(sections[i], options, detail));
  }
  out += "<footer><h3>How to see this again</h3><pre>" + html_text(command) +
         "</pre>\n<p class=\"remark\">All times are simulated, none is measured. ";
  std::vector<std::string> devices;
  for (const costmodel::DeviceSpec& device : options.devices) devices.push_back(device.name);
  return out +
         html_text(fmt::format("Espalier {}, seed {}, devices: {}.", ESPALIER_VERSION, options.seed,
                               core::join(devices, ", "))) +
         "</p></footer>\n</body></html>\n";
}

}  // namespace

std::vector<ReportSection> make_sections(const std::vector<Input>& inputs, const std::vector<ReportRow>& rows,
                                         const CompareOptions& options) {
  std::vector<RankedBlock> blocks = rank_blocks(rows);
  std::vector<ReportSection> sections(blocks.size());
  for_each_case("explaining", blocks.size(), options.jobs,
                [&](std::size_t i) { sections[i] = make_section(std::move(blocks[i]), inputs, rows, options); });
  return sections;
}

std::string write_html(const std::vector<Input>& inputs, const std::vector<ReportRow>& rows,
                       const CompareOptions& options, const std::string& command) {
  const std::vector<ReportSection> sections = make_sections(inputs, rows, options);
  const std::vector<Overall> totals = overall(rows, options);
  SectionDetail detail;
  detail.titles = sections.size() <= kTitledSections;
  std::string out = page(sections, totals, options, command, detail);
  while (out.size() > kMostBytes && detail.max_boxes > 50) {
    detail.titles = false;
    detail.max_boxes /= 2;
    out = page(sections, totals, options, command, detail);
  }
  return out;
}

}  // namespace espalier::apps
