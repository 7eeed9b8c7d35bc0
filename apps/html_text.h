// Pieces of HTML: escaped text, numbers with a proper micro sign, legends, bars.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "viz/model/sharing.h"

namespace espalier::apps {

/// Escaped for HTML, and "12 us +- 3 %" written as "12 µs ± 3 %".
std::string html_text(std::string_view text);
/// A name that may be broken between its parts.
std::string html_name(std::string_view name);
std::string html_time(double us);
/// Swatches with labels, after an optional remark.
std::string html_legend(const std::string& remark, const std::vector<viz::LegendEntry>& entries);
/// A box of `share` (0..1) of the width there is; a mark at `mark` unless negative.
std::string html_bar(double share, viz::Paint paint, double mark = -1);
/// Name for a fragment: "s3".
std::string section_anchor(std::size_t section);
/// All style of the page.
std::string page_css();

}  // namespace espalier::apps
