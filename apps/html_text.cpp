#include "apps/html_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "viz/model/axis.h"
#include "viz/scene/svg.h"

namespace espalier::apps {

std::string html_text(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool unit = i > 0 && text.substr(i, 3) == " us" &&
                      std::isdigit(static_cast<unsigned char>(text[i - 1])) != 0 &&
                      (i + 3 == text.size() || std::isalnum(static_cast<unsigned char>(text[i + 3])) == 0);
    if (unit) {
      out += " µs";
      i += 2;
    } else if (text.substr(i, 3) == "+- ") {
      out += "± ";
      i += 2;
    } else {
      out += text[i];
    }
  }
  return viz::escape_xml(out);
}

std::string html_name(std::string_view name) {
  std::string out;
  for (const char c : html_text(name)) {
    out += c;
    if (c == '_' || c == ':' || c == ',' || c == '[') out += "<wbr>";
  }
  return out;
}

std::string html_time(double us) { return viz::value_text(us, viz::Unit::time_us); }

std::string html_legend(const std::string& remark, const std::vector<viz::LegendEntry>& entries) {
  std::string out =
      "<p class=\"legend\">" + (remark.empty() ? std::string() : "<span>" + html_text(remark) + "</span>");
  for (const viz::LegendEntry& entry : entries) {
    out += fmt::format("<span><svg viewBox=\"0 0 1 1\"><rect class=\"p{}\" width=\"1\" height=\"1\"/></svg>{}</span>",
                       static_cast<int>(entry.paint), html_text(entry.label));
  }
  return out + "</p>\n";
}

std::string html_bar(double share, viz::Paint paint, double mark) {
  std::string out = "<div class=\"bar\"><svg viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\"><rect class=\"p" +
                    std::to_string(static_cast<int>(paint)) + "\" height=\"10\" width=\"";
  viz::append_number(out, 1000 * std::clamp(share, 0.0, 1.0));
  out += "\"/>";
  if (mark >= 0) {
    std::string x;
    viz::append_number(x, 1000 * std::min(1.0, mark));
    out += fmt::format("<line class=\"s{0}\" x1=\"{1}\" x2=\"{1}\" y1=\"0\" y2=\"10\"/>",
                       static_cast<int>(viz::Paint::ink), x);
  }
  return out + "</svg></div>";
}

std::string section_anchor(std::size_t section) { return fmt::format("s{}", section + 1); }

std::string page_css() {
  const auto variables = [](viz::Theme theme) {
    const auto hex = [&](viz::Paint paint) { return viz::hex_text(viz::colour_of(paint, theme)); };
    return fmt::format(":root{{--page:{};--panel:{};--ink:{};--muted:{};--grid:{};--accent:{}}}", hex(viz::Paint::page),
                       hex(viz::Paint::panel), hex(viz::Paint::ink), hex(viz::Paint::muted), hex(viz::Paint::grid),
                       hex(viz::Paint::hbm));
  };
  return ":root{color-scheme:light dark}" + variables(viz::Theme::light) + "@media (prefers-color-scheme:dark){" +
         variables(viz::Theme::dark) + "}" + viz::palette_css(std::nullopt) + viz::fragment_css() +
         "*{box-sizing:border-box}"
         "body{margin:0 auto;max-width:1120px;padding:28px 24px 72px;background:var(--page);color:var(--ink);"
         "font:15px/1.5 system-ui,-apple-system,'Segoe UI','DejaVu "
         "Sans',Helvetica,Arial,sans-serif;overflow-wrap:anywhere}"
         "h1{font-size:15px;font-weight:600;color:var(--muted);margin:0 0 4px}"
         "h2{font-size:22px;line-height:1.25;margin:0 0 2px}h3{font-size:16px;margin:30px 0 "
         "2px}h4{font-size:14px;margin:14px 0 4px}"
         "p{margin:4px 0}.remark{color:var(--muted);font-size:13px;margin:0 0 10px}"
         "section{margin-top:44px;padding-top:28px;border-top:1px solid "
         "var(--grid)}section.only{margin-top:18px;padding-top:0;border-top:0}section.only+section.only{margin-top:"
         "52px}"
         ".verdict{font-size:21px;line-height:1.35;font-weight:600;border-left:4px solid var(--accent);padding:2px 0 "
         "2px 14px;margin:16px 0 10px}"
         ".reasons{padding-left:18px;margin:8px 0}.reasons li{margin:3px 0}"
         "table{border-collapse:collapse;width:100%;overflow-wrap:break-word}th{font-weight:500;color:var(--muted);"
         "font-size:13px;text-align:left}"
         "td,th{padding:4px 10px 4px "
         "0;vertical-align:middle}td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}"
         "td.w{width:46%}td:last-child,th:last-child{padding-right:0}tr.best td{font-weight:600}"
         ".list td,.list th{border-bottom:1px solid var(--grid)}"
         ".bar{height:16px;background:var(--panel)}.bar svg{width:100%;height:100%;display:block}.bar "
         "line{vector-effect:non-scaling-stroke;stroke-width:1.5;stroke-dasharray:3 2}"
         ".legend{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:13px;margin:8px 0 "
         "0}.legend>span:first-child:not(:has(svg)){color:var(--muted)}"
         ".legend svg{width:11px;height:11px;margin-right:6px;vertical-align:-1px}"
         ".pair{display:grid;grid-template-columns:1fr 1fr;gap:8px 28px}.pair>*{min-width:0}"
         "a{color:var(--accent)}details{margin-top:10px}summary{cursor:pointer;color:var(--muted);font-size:13px}"
         "pre{background:var(--panel);padding:12px 14px;white-space:pre-wrap;font:13px/1.5 ui-monospace,'DejaVu Sans "
         "Mono',Menlo,monospace;margin:8px 0}"
         "footer{margin-top:48px;padding-top:20px;border-top:1px solid var(--grid)}"
         "@media (max-width:640px){body{padding:18px 14px "
         "48px;font-size:14px}h2{font-size:19px}.verdict{font-size:18px}.pair{grid-template-columns:1fr}"
         ".wide{display:none}td.w{width:30%}td,th{padding-right:7px}th.n{white-space:normal}}";
}

}  // namespace espalier::apps
