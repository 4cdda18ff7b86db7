import type { palette as english } from '../en/palette';
import type { InWords } from '../en';

/** Words of the palette of everything that can be done. */
export const palette: InWords<typeof english> = {
  'palette.title': '执行任何操作',
  'palette.placeholder': '输入机器、实例或操作',
  'palette.none': '没有找到。',
  'palette.results': '结果',
  'palette.start': '在最合适的机器上启动 {{template}}',
  'palette.open': '打开 {{name}}',
  'palette.console': '{{name}} 的控制台',
  'palette.act': '{{action}} {{name}}',
  'palette.drain': '计划清空 {{machine}}…',
  'palette.failure': '假如 {{machine}} 出故障？',
  'palette.export': '将资源池清单保存为 JSON',
  'palette.exported': '已保存为 {{path}}',
  'palette.theme': '外观：{{theme}}',
  'palette.language': '语言：{{language}}',
  'palette.kind.machine': '机器',
  'palette.kind.plan': '计划',
  'palette.kind.instance': '实例',
  'palette.kind.template': '模板',
  'palette.kind.window': '窗口',
};
