// SPDX-License-Identifier: MIT
// Draws the plots of the page; the tables need no script. Sets data-plots of the document to how many were drawn.
(() => {
  const plots = JSON.parse(document.getElementById('plots').textContent);
  const colours = ['#3b7dd8', '#e08a1e', '#2f9e6e', '#c2497a', '#7a5fd0', '#8a8f98', '#b0792b', '#2aa3b5'];
  const drawn = [];
  const draw = () => {
    while (drawn.length) drawn.pop().destroy();
    const style = getComputedStyle(document.documentElement);
    const text = style.getPropertyValue('--text').trim(), line = style.getPropertyValue('--line').trim();
    Chart.defaults.color = text;
    Chart.defaults.borderColor = line;
    Chart.defaults.font.family = 'system-ui, sans-serif';
    for (const plot of plots) {
      const sideways = plot.type === 'sideways';
      const value = { type: plot.log ? 'logarithmic' : 'linear', beginAtZero: !plot.log, title: { display: true, text: plot.unit } };
      const name = { title: { display: Boolean(plot.across), text: plot.across }, ticks: { autoSkip: !sideways } };
      drawn.push(new Chart(document.getElementById(plot.id), {
        type: plot.type === 'line' ? 'line' : 'bar',
        data: {
          labels: plot.labels,
          datasets: plot.series.map((series, i) => ({
            label: series.label,
            data: series.data,
            borderColor: colours[i % colours.length],
            backgroundColor: colours[i % colours.length],
            borderDash: series.dashed ? [5, 4] : [],
            borderWidth: plot.type === 'line' ? 2 : 0,
            pointRadius: 3,
            spanGaps: true,
          })),
        },
        options: {
          animation: false,
          responsive: true,
          maintainAspectRatio: false,
          indexAxis: sideways ? 'y' : 'x',
          scales: sideways ? { x: value, y: name } : { x: name, y: value },
          plugins: { legend: { position: 'bottom', labels: { boxWidth: 14 } } },
        },
      }));
    }
    document.documentElement.dataset.plots = String(drawn.length);
  };
  draw();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
})();
