// Draws every chart of the page in the colours of the page, and again when light turns to dark.
"use strict";
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function draw() {
  const colours = getComputedStyle(document.documentElement);
  const ink = colours.getPropertyValue("--ink").trim();
  const line = colours.getPropertyValue("--line").trim();
  for (const place of document.querySelectorAll("[data-figure]")) {
    const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
    figure.layout.font = { color: ink };
    for (const axis of ["xaxis", "yaxis"]) {
      figure.layout[axis] = { ...figure.layout[axis], gridcolor: line + "55", linecolor: line, zerolinecolor: line, automargin: true };
    }
    Plotly.react(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
  }
}

dark.addEventListener("change", draw);
draw();
